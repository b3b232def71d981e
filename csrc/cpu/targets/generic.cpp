// The baseline of the compiler: SSE2 on x86-64, NEON on 64-bit Arm. Runs everywhere.
#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "generic";
constexpr int kVectorBytes = 16;
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;

// The second argument where either is NaN.
template <typename V>
RNNFAST_INLINE V lesser(V a, V b) {
  return a < b ? a : b;
}
template <typename V>
RNNFAST_INLINE V greater(V a, V b) {
  return a > b ? a : b;
}

#include "cpu/kernels.inl"

bool available() { return true; }

}  // namespace

const Target kGeneric = {kName, available, kernels<float>, kernels<double>, burn};

}  // namespace rnnfast::cpu
