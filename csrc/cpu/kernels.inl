// Everything that is compiled once per target. Included where passes.inl is, by the targets that have kernels of
// their own in every precision.
// clang-format off
#include "cpu/passes.inl"
#include "cpu/int8/int8.inl"
// clang-format on

template <typename Cell, typename Real>
constexpr Kernels<Real> kKernels = {
    Cell::gates,
    Cell::saved,
    Cell::has_c,
    ForwardPass<Cell, Real>::weights_size,
    ForwardPass<Cell, Real>::pack,
    ForwardPass<Cell, Real>::scratch_size,
    ForwardPass<Cell, Real>::run,
    BackwardPass<Cell, Real>::weights_size,
    BackwardPass<Cell, Real>::pack,
    BackwardPass<Cell, Real>::scratch_size,
    BackwardPass<Cell, Real>::zeros,
    BackwardPass<Cell, Real>::run,
    BackwardPass<Cell, Real>::reduce,
    PooledPass<Cell, Real>::weights_size,
    PooledPass<Cell, Real>::pack,
    PooledPass<Cell, Real>::scratch_size,
    PooledPass<Cell, Real>::run,
};

template <typename Real>
const Kernels<Real>* kernels(const char* cell) {
#define RNNFAST_CASE(name, Cell) \
  if (std::strcmp(cell, name) == 0) return &kKernels<Cell, Real>;
  RNNFAST_CELLS(RNNFAST_CASE)
#undef RNNFAST_CASE
  return nullptr;
}

/// `rounds` times 12 independent chains of FMAs on float vectors, which is nothing but arithmetic; returns their number
/// of floating-point operations. The benchmarks divide by the rate of this.
int64_t burn(int64_t rounds) {
  Vec<float> chains[12];
  for (int chain = 0; chain < 12; ++chain) chains[chain] = Vec<float>{} + static_cast<float>(chain);
  const Vec<float> factor = Vec<float>{} + 0.5f, addend = Vec<float>{} + 1.0f;
  for (int64_t round = 0; round < rounds; ++round) {
    RNNFAST_UNROLL
    for (int chain = 0; chain < 12; ++chain) chains[chain] = chains[chain] * factor + addend;
  }
  Vec<float> sum = {};
  for (int chain = 0; chain < 12; ++chain) sum += chains[chain];
  float sums[kLanes<float>];
  store(sums, sum);
  volatile float sink = sums[0];  // or the compiler would leave it all out
  (void)sink;
  return rounds * 12 * kLanes<float> * 2;
}
