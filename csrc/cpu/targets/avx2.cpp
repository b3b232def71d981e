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
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;  // 12 of the 16 registers hold sums

#include "cpu/targets/avx2.inl"
#include "cpu/targets/halves.inl"
#include "cpu/targets/products.inl"

constexpr int kDotRows = 4;

constexpr bool kUnsignedRows = false;
typedef int32_t ByteSums __attribute__((vector_size(32)));

/// The first and third byte of each lane, or the second and fourth, as numbers of 16 bits.
RNNFAST_INLINE __m256i even_bytes(__m256i bytes) { return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8); }
RNNFAST_INLINE __m256i odd_bytes(__m256i bytes) { return _mm256_srai_epi16(bytes, 8); }

/// sums += the four products of the bytes in each lane
RNNFAST_INLINE void add_bytes(ByteSums& sums, ByteSums row, ByteSums column) {
  const __m256i a = (__m256i)row, b = (__m256i)column;
  sums += (ByteSums)_mm256_madd_epi16(even_bytes(a), even_bytes(b)) +
          (ByteSums)_mm256_madd_epi16(odd_bytes(a), odd_bytes(b));
}

#include "cpu/kernels.inl"

}  // namespace

const Target kAvx2 = {kName,   available, nullptr,          kernels<float>, kernels<double>, narrow_kernels<BFloat16>,
                      nullptr, burn,      quantized_kernels};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
