// Products of bytes by the tiles of AMX, and of a few rows by VPDPBUSD: the int8 kernels of amx.cpp.
#if defined(__x86_64__)

#include <immintrin.h>

#include "cpu/targets/amx_int8.h"
#include "cpu/targets/prelude.h"

RNNFAST_TARGET_BEGIN("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "amx";
constexpr int kTileRows = 6, kTileVectors = 4;

#include "cpu/targets/avx512.inl"
#include "cpu/targets/avx512_bytes.inl"
#include "cpu/targets/avx512_rough.inl"
#include "cpu/targets/rough.inl"

/// What LDTILECFG reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

// Assembly, since the compilers' own functions want the number of a register as a literal, which no template has.
RNNFAST_INLINE void tile_config() {
  const TileShapes shapes;
  asm volatile("ldtilecfg %0" : : "m"(shapes));
}
RNNFAST_INLINE void tile_release() { asm volatile("tilerelease"); }
template <int t>
RNNFAST_INLINE void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(t) : "memory");
}
template <int t>
RNNFAST_INLINE void tile_store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(t) : "memory");
}
template <int sum, int a, int b>
RNNFAST_INLINE void tile_dpbusd() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

#include "cpu/int8/passes_by_tiles.inl"

}  // namespace

const Kernels<float>* amx_int8(const char* cell) { return quantized_kernels(cell); }

}  // namespace rnnfast::cpu

RNNFAST_TARGET_END

#endif
