// AMX: Intel since Sapphire Rapids. bfloat16 is multiplied by its tiles, all else computed as on AVX-512.
#if defined(__x86_64__)

#include <immintrin.h>

#include "cpu/targets/amx_int8.h"
#include "cpu/targets/prelude.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cpuid.h>

namespace rnnfast::cpu {
namespace {

/// Whether the processor has tiles and their products of bfloat16 and of bytes: bits 24, 22 and 25 of CPUID's leaf 7.
bool has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1) && (d >> 22 & 1) && (d >> 25 & 1);
}

/// Tiles are 8 KB of state, which Linux saves for a process only if it asks for that (arch_prctl(2)); it holds for
/// every thread.
bool permitted() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool available() {
  static const bool available =
      kAvx512Vnni.available() && __builtin_cpu_supports("avx512bf16") && has_tiles() && permitted();
  return available;
}

const Kernels<float>* f32(const char* cell) { return kAvx512.f32(cell); }
const Kernels<double>* f64(const char* cell) { return kAvx512.f64(cell); }
int64_t burn(int64_t rounds) { return kAvx512.burn(rounds); }

}  // namespace
}  // namespace rnnfast::cpu

RNNFAST_TARGET_BEGIN("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "amx";
constexpr int kTileRows = 32, kTileVectors = 2;  // two registers by two

#include "cpu/targets/avx512.inl"
#include "cpu/targets/avx512_pairs.inl"

/// sum += both products of each lane's pairs, as floats: what has tiles takes longer for VDPBF16PS than for all of
/// this.
RNNFAST_INLINE void add_products(__m512& sum, __m512 row, __m512 column) {
  typedef uint32_t Words __attribute__((vector_size(64)));
  const Words a = (Words)row, b = (Words)column;
  sum += (__m512)(a << 16) * (__m512)(b << 16);
  sum += (__m512)(a & 0xffff0000) * (__m512)(b & 0xffff0000);
}

/// What LDTILECFG reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};

  explicit TileShapes(int some) {
    for (int t = 0; t < 5; ++t) rows[t] = static_cast<uint8_t>(some);
  }
};
static_assert(sizeof(TileShapes) == 64);

// Assembly, since the compilers' own functions want the number of a register as a literal, which no template has.
RNNFAST_INLINE void tile_config(int rows) {
  const TileShapes shapes(rows);
  asm volatile("ldtilecfg %0" : : "m"(shapes));
}
RNNFAST_INLINE void tile_release() { asm volatile("tilerelease"); }
template <int t>
RNNFAST_INLINE void tile_load(const float* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride * 4), "i"(t) : "memory");
}
template <int t>
RNNFAST_INLINE void tile_store(float* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride * 4), "i"(t) : "memory");
}
template <int sum, int a, int b>
RNNFAST_INLINE void tile_dpbf16ps() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

#include "cpu/narrow/tiles.inl"
#include "cpu/passes.inl"

}  // namespace

const Target kAmx = {kName, available, nullptr, f32, f64, narrow_kernels<BFloat16>, narrow_kernels<float>,
                     burn,  amx_int8};

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
