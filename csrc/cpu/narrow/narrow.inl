// The passes with narrow operands, in order: of layers in bfloat16, and of layers in float32 that may multiply so.
// clang-format off
#include "cpu/narrow/pipeline.inl"
#include "cpu/narrow/numbers.inl"
#include "cpu/narrow/dot.inl"
#include "cpu/narrow/gradient.inl"
#include "cpu/narrow/forward.inl"
#include "cpu/narrow/backward.inl"
#include "cpu/narrow/pooled.inl"
// clang-format on

template <typename Cell, typename Store>
constexpr Kernels<Store> kNarrowKernels = {
    Cell::gates,
    Cell::saved,
    Cell::has_c,
    NarrowForward<Cell, Store>::weights_size,
    NarrowForward<Cell, Store>::pack,
    NarrowForward<Cell, Store>::scratch_size,
    NarrowForward<Cell, Store>::run,
    NarrowBackward<Cell, Store>::weights_size,
    NarrowBackward<Cell, Store>::pack,
    NarrowBackward<Cell, Store>::scratch_size,
    NarrowBackward<Cell, Store>::zeros,
    NarrowBackward<Cell, Store>::run,
    NarrowBackward<Cell, Store>::reduce,
    NarrowPooled<Cell, Store>::weights_size,
    NarrowPooled<Cell, Store>::pack,
    NarrowPooled<Cell, Store>::scratch_size,
    NarrowPooled<Cell, Store>::run,
};

template <typename Store>
const Kernels<Store>* narrow_kernels(const char* cell) {
#define RNNFAST_CASE(name, Cell) \
  if (std::strcmp(cell, name) == 0) return &kNarrowKernels<Cell, Store>;
  RNNFAST_CELLS(RNNFAST_CASE)
#undef RNNFAST_CASE
  return nullptr;
}
