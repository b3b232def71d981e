// The baseline of the compiler: SSE2 on x86-64, NEON on 64-bit Arm. Runs everywhere.
#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "generic";
constexpr int kVectorBytes = 16;
constexpr bool kFused = false;
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;

#include "cpu/targets/bytes.inl"
#include "cpu/targets/halves.inl"
#include "cpu/targets/portable.inl"
#include "cpu/targets/products.inl"

constexpr int kDotRows = 2;

#include "cpu/kernels.inl"

bool available() { return true; }

}  // namespace

const Target kGeneric = {
    kName,   available, nullptr,          kernels<float>, kernels<double>, narrow_kernels<BFloat16>,
    nullptr, burn,      quantized_kernels};

}  // namespace rnnfast::cpu
