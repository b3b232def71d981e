// AVX-512 with products of bfloat16 (VDPBF16PS): AMD since Zen 4, Intel Cooper Lake and since Sapphire Rapids. Other
// numbers are computed as on AVX-512.
#if defined(__x86_64__)

#include <immintrin.h>

#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

bool available() { return kAvx512Vnni.available() && __builtin_cpu_supports("avx512bf16"); }

// Intel's processors, but for Cooper Lake, take as long for a vector of pairs as for two of floats or longer; what they
// have for bfloat16 are tiles (amx.cpp).
bool preferred() { return __builtin_cpu_is("amd"); }

const Kernels<float>* f32(const char* cell) { return kAvx512.f32(cell); }
const Kernels<double>* f64(const char* cell) { return kAvx512.f64(cell); }
int64_t burn(int64_t rounds) { return kAvx512.burn(rounds); }
// There is no such processor without VNNI.
const Kernels<float>* vnni(const char* cell) { return kAvx512Vnni.int8(cell); }

}  // namespace
}  // namespace rnnfast::cpu

RNNFAST_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "avx512_bf16";
constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;  // 24 of the 32 registers hold sums

#include "cpu/targets/avx512.inl"
#include "cpu/targets/avx512_pairs.inl"
#include "cpu/targets/no_tiles.inl"

/// sum += both products of each lane's pairs
RNNFAST_INLINE void add_products(__m512& sum, __m512 row, __m512 column) {
  sum = _mm512_dpbf16_ps(sum, (__m512bh)row, (__m512bh)column);
}

#include "cpu/passes.inl"

}  // namespace

const Target kAvx512Bf16 = {kName, available, preferred, f32, f64, narrow_kernels<BFloat16>, narrow_kernels<float>,
                            burn,  vnni};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
