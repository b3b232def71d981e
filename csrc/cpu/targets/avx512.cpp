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

#include "cpu/kernels.inl"

}  // namespace

const Target kAvx512 = {kName,   available, nullptr, kernels<float>, kernels<double>, narrow_kernels<BFloat16>,
                        nullptr, burn};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
