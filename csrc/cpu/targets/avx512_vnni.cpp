// AVX-512 with products of bytes (VPDPBUSD): Intel since Ice Lake, AMD since Zen 4. Other numbers are computed as on
// AVX-512.
#if defined(__x86_64__)

#include <immintrin.h>

#include "cpu/targets/prelude.h"

namespace rnnfast::cpu {
namespace {

bool available() { return kAvx512.available() && __builtin_cpu_supports("avx512vnni"); }

const Kernels<float>* f32(const char* cell) { return kAvx512.f32(cell); }
const Kernels<double>* f64(const char* cell) { return kAvx512.f64(cell); }
const Kernels<BFloat16>* bf16(const char* cell) { return kAvx512.bf16(cell); }
int64_t burn(int64_t rounds) { return kAvx512.burn(rounds); }

}  // namespace
}  // namespace rnnfast::cpu

RNNFAST_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "avx512_vnni";
constexpr int kTileRows = 6, kTileVectors = 4;

#include "cpu/targets/avx512.inl"
#include "cpu/targets/avx512_bytes.inl"
#include "cpu/targets/avx512_rough.inl"
#include "cpu/targets/rough.inl"

#include "cpu/int8/passes.inl"

}  // namespace

const Target kAvx512Vnni = {kName, available, nullptr, f32, f64, bf16, nullptr, burn, quantized_kernels};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
