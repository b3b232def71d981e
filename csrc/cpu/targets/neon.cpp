// NEON, which every 64-bit Arm machine has. The baseline is the same instruction set there; what makes a target of its
// own is the wider tile, for 32 registers where the baseline cannot count on more than 16.
#if defined(__aarch64__)

#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "neon";
constexpr int kVectorBytes = 16;
constexpr bool kFused = true;
constexpr int kTileRows = 5;
constexpr int kTileVectors = 4;  // 20 of the 32 registers hold sums; with 24 both compilers spill some

#include "cpu/targets/bytes.inl"
#include "cpu/targets/halves.inl"
#include "cpu/targets/portable.inl"
#include "cpu/targets/products.inl"

constexpr int kDotRows = 4;

#include "cpu/kernels.inl"

bool available() { return true; }

}  // namespace

const Target kNeon = {kName,   available, nullptr,          kernels<float>, kernels<double>, narrow_kernels<BFloat16>,
                      nullptr, burn,      quantized_kernels};

}  // namespace rnnfast::cpu

#endif
