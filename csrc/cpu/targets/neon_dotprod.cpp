// NEON with products of bytes (SDOT): Arm since the Neoverse N1 and the Cortex-A75, Apple since A11 and M1. Other
// numbers are computed as on NEON.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "cpu/targets/prelude.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

namespace rnnfast::cpu {
namespace {

bool available() {
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1 << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & kDotProducts;
#else
  return true;  // Apple's processors
#endif
}

const Kernels<float>* f32(const char* cell) { return kNeon.f32(cell); }
const Kernels<double>* f64(const char* cell) { return kNeon.f64(cell); }
const Kernels<BFloat16>* bf16(const char* cell) { return kNeon.bf16(cell); }
int64_t burn(int64_t rounds) { return kNeon.burn(rounds); }

}  // namespace
}  // namespace rnnfast::cpu

#if defined(__clang__)
RNNFAST_TARGET_BEGIN("dotprod")
#else
RNNFAST_TARGET_BEGIN("+dotprod")
#endif

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "neon_dotprod";
constexpr int kVectorBytes = 16;
constexpr bool kFused = true;
constexpr int kTileRows = 5, kTileVectors = 4;

#include "cpu/targets/halves.inl"
#include "cpu/targets/portable.inl"
#include "cpu/targets/rough.inl"

constexpr bool kUnsignedRows = false;
constexpr int kDotRows = 5;

/// sums += the four products of the bytes in each lane
typedef int32_t ByteSums __attribute__((vector_size(16)));
RNNFAST_INLINE void add_bytes(ByteSums& sums, ByteSums row, ByteSums column) {
  sums = (ByteSums)vdotq_s32((int32x4_t)sums, (int8x16_t)row, (int8x16_t)column);
}

/// 1 / x, 2^-14 of it away at most: the estimate has 8 bits, and a step of Newton's method doubles them.
typedef float Floats __attribute__((vector_size(16)));
RNNFAST_INLINE Floats rough_inverse(Floats x) {
  const float32x4_t estimate = vrecpeq_f32((float32x4_t)x);
  return (Floats)vmulq_f32(estimate, vrecpsq_f32((float32x4_t)x, estimate));
}
#include "cpu/targets/rough_exp.inl"

#include "cpu/int8/passes.inl"

}  // namespace

const Target kNeonDotprod = {kName, available, nullptr, f32, f64, bf16, nullptr, burn, quantized_kernels};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
