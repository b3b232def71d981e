// AVX2 with FMA: Intel since Haswell, AMD since Zen.
#if defined(__x86_64__)

#include <immintrin.h>

#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

bool available() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

}  // namespace
}  // namespace rnnfast::cpu

RNNFAST_TARGET_BEGIN("avx2,fma")

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "avx2";
constexpr int kVectorBytes = 32;
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;  // 12 of the 16 registers hold sums

// The second argument where either is NaN.
RNNFAST_INLINE __m256 lesser(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
RNNFAST_INLINE __m256d lesser(__m256d a, __m256d b) { return _mm256_min_pd(a, b); }
RNNFAST_INLINE __m256 greater(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
RNNFAST_INLINE __m256d greater(__m256d a, __m256d b) { return _mm256_max_pd(a, b); }

#include "cpu/kernels.inl"

}  // namespace

const Target kAvx2 = {kName, available, kernels<float>, kernels<double>, burn};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
