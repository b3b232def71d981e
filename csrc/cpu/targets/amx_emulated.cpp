// The code of amx.cpp on tiles of plain memory, so that it can be tested on any machine: slow, and never chosen
// unasked.
#include "cpu/targets/amx_int8.h"
#include "cpu/targets/prelude.h"

// Vectors that are wider than those of the machine stay within this file.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace rnnfast::cpu {
namespace {

constexpr char kName[] = "amx_emulated";
constexpr int kVectorBytes = 64;
constexpr bool kFused = false;
constexpr int kTileRows = 32, kTileVectors = 2;
constexpr int kPack = 2;

#include "cpu/targets/halves.inl"
#include "cpu/targets/portable.inl"
#include "cpu/targets/rounding.inl"

typedef float Lanes __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Pairs __attribute__((vector_size(kVectorBytes)));

RNNFAST_INLINE void add_products(Lanes& sum, Lanes row, Lanes column) {
  const Pairs a = (Pairs)row, b = (Pairs)column;
  sum += (Lanes)(a << 16) * (Lanes)(b << 16) + (Lanes)(a & 0xffff0000) * (Lanes)(b & 0xffff0000);
}
RNNFAST_INLINE void add_products(Lanes& sum, const float* row, Lanes column) {
  uint32_t pair;
  __builtin_memcpy(&pair, row, sizeof pair);
  add_products(sum, (Lanes)(Pairs{} + pair), column);
}

// What narrow/activations.inl is made of.
RNNFAST_INLINE Lanes rough_inverse(Lanes x) { return 1 / x; }
Lanes pick(const float (&table)[32], Lanes bits) {
  Lanes picked;
  for (int lane = 0; lane < 16; ++lane) picked[lane] = table[((Pairs)bits)[lane] & 31];
  return picked;
}
Lanes above_floor(Lanes x) {
  for (int lane = 0; lane < 16; ++lane) x[lane] = __builtin_isinf(x[lane]) ? 0 : x[lane] - __builtin_floorf(x[lane]);
  return x;
}
Lanes times_power(Lanes x, Lanes y) {
  for (int lane = 0; lane < 16; ++lane) {
    const float power = y[lane] < -200 ? -200 : y[lane] > 200 ? 200 : __builtin_floorf(y[lane]);  // NaN goes through
    x[lane] = power == power ? __builtin_ldexpf(x[lane], static_cast<int>(power)) : power;
  }
  return x;
}

#include "cpu/narrow/activations.inl"

/// The tile registers of this thread; `configured` as on the machine, where they cannot be used unless they are.
struct Registers {
  Lanes rows[8][16];
  int some = 0;  // rows of the first five
  bool configured = false;

  int count(int t) const { return t < 5 ? some : 16; }
};
thread_local Registers registers;

Lanes* rows_of(int t) {
  if (!registers.configured) __builtin_trap();
  return registers.rows[t];
}

void tile_config(int rows) {
  registers = {};
  registers.some = rows;
  registers.configured = true;
}
void tile_release() { registers.configured = false; }
template <int t>
void tile_load(const float* from, int64_t stride) {
  for (int i = 0; i < registers.count(t); ++i) __builtin_memcpy(&rows_of(t)[i], from + i * stride, kVectorBytes);
}
template <int t>
void tile_store(float* to, int64_t stride) {
  for (int i = 0; i < registers.count(t); ++i) __builtin_memcpy(to + i * stride, &rows_of(t)[i], kVectorBytes);
}
template <int sum, int a, int b>
void tile_dpbf16ps() {
  for (int i = 0; i < registers.count(sum); ++i)
    for (int k = 0; k < 16; ++k)
      add_products(rows_of(sum)[i], reinterpret_cast<const float*>(&rows_of(a)[i]) + k, rows_of(b)[k]);
}

#include "cpu/narrow/tiles.inl"
#include "cpu/passes.inl"

bool available() { return true; }
bool preferred() { return false; }

const Kernels<float>* f32(const char* cell) { return kGeneric.f32(cell); }
const Kernels<double>* f64(const char* cell) { return kGeneric.f64(cell); }
int64_t burn(int64_t rounds) { return kGeneric.burn(rounds); }

}  // namespace

const Target kAmxEmulated = {
    kName, available, preferred, f32, f64, narrow_kernels<BFloat16>, narrow_kernels<float>, burn, amx_int8_emulated};

}  // namespace rnnfast::cpu
