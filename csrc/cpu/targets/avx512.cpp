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
constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;  // 24 of the 32 registers hold sums

#include "cpu/targets/avx512.inl"
#include "cpu/targets/products.inl"

constexpr int kDotRows = 8;
constexpr bool kUnsignedRows = false;
typedef int32_t ByteSums __attribute__((vector_size(64)));

/// The first and third byte of each lane, or the second and fourth, as numbers of 16 bits.
RNNFAST_INLINE __m512i even_bytes(__m512i bytes) { return _mm512_srai_epi16(_mm512_slli_epi16(bytes, 8), 8); }
RNNFAST_INLINE __m512i odd_bytes(__m512i bytes) { return _mm512_srai_epi16(bytes, 8); }

/// sums += the four products of the bytes in each lane
RNNFAST_INLINE void add_bytes(ByteSums& sums, ByteSums row, ByteSums column) {
  const __m512i a = (__m512i)row, b = (__m512i)column;
  sums += (ByteSums)_mm512_madd_epi16(even_bytes(a), even_bytes(b)) +
          (ByteSums)_mm512_madd_epi16(odd_bytes(a), odd_bytes(b));
}

#include "cpu/kernels.inl"

}  // namespace

const Target kAvx512 = {kName,   available, nullptr,          kernels<float>, kernels<double>, narrow_kernels<BFloat16>,
                        nullptr, burn,      quantized_kernels};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
