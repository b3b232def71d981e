// AVX2 with products of bytes (AVX-VNNI): Intel since Alder Lake, AMD since Zen 5. Other numbers are computed as on
// AVX2.
#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

/// Bit 4 of CPUID's leaf 7, subleaf 1.
bool has_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

bool available() { return kAvx2.available() && has_vnni(); }

const Kernels<float>* f32(const char* cell) { return kAvx2.f32(cell); }
const Kernels<double>* f64(const char* cell) { return kAvx2.f64(cell); }
const Kernels<BFloat16>* bf16(const char* cell) { return kAvx2.bf16(cell); }
int64_t burn(int64_t rounds) { return kAvx2.burn(rounds); }

}  // namespace
}  // namespace rnnfast::cpu

RNNFAST_TARGET_BEGIN("avx2,fma,avxvnni")

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "avx_vnni";
constexpr int kTileRows = 6, kTileVectors = 2;

#include "cpu/targets/avx2.inl"
#include "cpu/targets/halves.inl"
#include "cpu/targets/rough.inl"

constexpr bool kUnsignedRows = true;
constexpr int kDotRows = 6;

/// sums += the four products of the bytes in each lane, those of the row being unsigned
typedef int32_t ByteSums __attribute__((vector_size(32)));
RNNFAST_INLINE void add_bytes(ByteSums& sums, ByteSums row, ByteSums column) {
  sums = (ByteSums)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)row, (__m256i)column);
}

/// 1 / x, 2^-11 of it away at most.
RNNFAST_INLINE __m256 rough_inverse(__m256 x) { return _mm256_rcp_ps(x); }
#include "cpu/targets/rough_exp.inl"

#include "cpu/int8/passes.inl"

}  // namespace

const Target kAvxVnni = {kName, available, nullptr, f32, f64, bf16, nullptr, burn, quantized_kernels};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
