// AVX-512 (F, BW, DQ, VL): Intel since Skylake-SP, AMD since Zen 4.
#if defined(__x86_64__)

#include <immintrin.h>

#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

bool available() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

}  // namespace
}  // namespace rnnfast::cpu

RNNFAST_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "avx512";
constexpr int kVectorBytes = 64;
constexpr bool kFused = true;
constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;  // 24 of the 32 registers hold sums

// The second argument where either is NaN. All lanes, by a mask: g++ 12 warns of what its header does without one.
RNNFAST_INLINE __m512 lesser(__m512 a, __m512 b) { return _mm512_maskz_min_ps(0xffff, a, b); }
RNNFAST_INLINE __m512d lesser(__m512d a, __m512d b) { return _mm512_maskz_min_pd(0xff, a, b); }
RNNFAST_INLINE __m512 greater(__m512 a, __m512 b) { return _mm512_maskz_max_ps(0xffff, a, b); }
RNNFAST_INLINE __m512d greater(__m512d a, __m512d b) { return _mm512_maskz_max_pd(0xff, a, b); }

// The first `count` lanes; the others are zero, or left alone.
RNNFAST_INLINE __mmask16 first_lanes(int64_t count) { return (1u << count) - 1; }
RNNFAST_INLINE __m512 load_first(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(first_lanes(count), p); }
RNNFAST_INLINE __m512d load_first(const double* p, int64_t count) {
  return _mm512_maskz_loadu_pd(first_lanes(count), p);
}
RNNFAST_INLINE void store_first(float* p, __m512 v, int64_t count) { _mm512_mask_storeu_ps(p, first_lanes(count), v); }
RNNFAST_INLINE void store_first(double* p, __m512d v, int64_t count) {
  _mm512_mask_storeu_pd(p, first_lanes(count), v);
}

#include "cpu/kernels.inl"

}  // namespace

const Target kAvx512 = {kName, available, kernels<float>, kernels<double>, burn};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
