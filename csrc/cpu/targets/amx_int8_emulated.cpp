// The code of amx_int8.cpp on tiles of plain memory, so that it can be tested on any machine.
#include "cpu/targets/amx_int8.h"
#include "cpu/targets/prelude.h"

// Vectors that are wider than those of the machine stay within this file.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "amx_emulated";
constexpr int kVectorBytes = 64;
constexpr bool kFused = false;
constexpr int kTileRows = 6, kTileVectors = 4;

#include "cpu/targets/halves.inl"
#include "cpu/targets/portable.inl"
#include "cpu/targets/rough.inl"

constexpr bool kUnsignedRows = true;
constexpr int kDotRows = 12;

typedef float Lanes __attribute__((vector_size(kVectorBytes)));
typedef int32_t ByteSums __attribute__((vector_size(kVectorBytes)));

RNNFAST_INLINE void add_bytes(ByteSums& sums, ByteSums row, ByteSums column) {
  sums += (row & 255) * (column << 24 >> 24) + (row >> 8 & 255) * (column << 16 >> 24) +
          (row >> 16 & 255) * (column << 8 >> 24) + (row >> 24 & 255) * (column >> 24);
}

RNNFAST_INLINE Lanes rough_inverse(Lanes x) { return 1 / x; }
#include "cpu/targets/rough_exp.inl"

/// The tile registers of this thread; `configured` as on the machine, where they cannot be used unless they are.
struct Registers {
  ByteSums rows[8][16];
  bool configured = false;
};
thread_local Registers registers;

ByteSums* rows_of(int t) {
  if (!registers.configured) __builtin_trap();
  return registers.rows[t];
}

void tile_config() {
  registers = {};
  registers.configured = true;
}
void tile_release() { registers.configured = false; }
template <int t>
void tile_load(const void* from, int64_t stride) {
  for (int i = 0; i < 16; ++i)
    __builtin_memcpy(&rows_of(t)[i], static_cast<const char*>(from) + i * stride, kVectorBytes);
}
template <int t>
void tile_store(void* to, int64_t stride) {
  for (int i = 0; i < 16; ++i) __builtin_memcpy(static_cast<char*>(to) + i * stride, &rows_of(t)[i], kVectorBytes);
}
template <int sum, int a, int b>
void tile_dpbusd() {
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 16; ++k) add_bytes(rows_of(sum)[i], ByteSums{} + rows_of(a)[i][k], rows_of(b)[k]);
}

#include "cpu/int8/passes_by_tiles.inl"

}  // namespace

const Kernels<float>* amx_int8_emulated(const char* cell) { return quantized_kernels(cell); }

}  // namespace rnnfast::cpu
