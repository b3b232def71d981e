// The element-wise part of a time step, a thread for every hidden unit of every batch row.

#include "cuda/stepwise.h"

#include "cuda/launch.h"
#include "cuda/steps.h"

namespace rnnfast::cuda {
namespace {

constexpr int kThreads = 256;

Shape shape_for(int64_t rows, int64_t H) { return {blocks_for(rows * H, kThreads), dim3(kThreads)}; }

/// The hidden unit and the batch row of the thread; the row may be past the end.
struct Place {
  int64_t i, n, u;

  __device__ explicit Place(int64_t H) : i(int64_t(blockIdx.x) * kThreads + threadIdx.x), n(i / H), u(i % H) {}
};

template <typename Cell, typename Element>
__global__ void __launch_bounds__(kThreads) forward_step(Forward f, StepForward between, int64_t t, int64_t rows) {
  typedef typename SumOf<Element>::Type Sum;
  constexpr Tables<Cell> tables;
  const int64_t H = f.H;
  const Place at(H);
  if (at.n >= rows) return;
  const int64_t length = length_of(f, at.n);
  if (t >= length) {
    if (f.first_row) return;
    clear<Element>(f.output, t, at.n, at.u, H, 1);
    clear<Element>(f.reserve, t, at.n, at.u, H, Cell::saved);
    clear<Element>(f.cells, t, at.n, at.u, H, 1);
    return;
  }

  const auto* x = vector_at<const Sum>(f.projected, f.first_row, t, at.n) + at.u;
  const auto* h = static_cast<const Sum*>(between.sums) + at.n * Cell::gates * H + at.u;
  const auto *b_ih = static_cast<const Element*>(f.b_ih), *b_hh = static_cast<const Element*>(f.b_hh);
  auto* state = static_cast<Element*>(between.states) + at.i;
  auto* cell_state = static_cast<Sum*>(between.cell_states) + at.i;
  Sum sums[Cell::sums], saved[kSaved<Cell>];
  RNNFAST_UNROLL
  for (int s = 0; s < Cell::sums; ++s) {
    const int from_x = tables.x_gate[s], from_h = tables.h_gate[s];
    sums[s] = 0;
    if (from_x >= 0) sums[s] += x[from_x * H] + (b_ih ? to_sum(b_ih[from_x * H + at.u]) : 0);
    if (from_h >= 0) sums[s] += h[from_h * H] + (b_hh ? to_sum(b_hh[from_h * H + at.u]) : 0);
  }
  Sum c = Cell::has_c ? *cell_state : 0;
  const Element made = from_sum<Element>(Cell::forward(sums, to_sum(*state), c, saved));
  *state = made;
  if (Cell::has_c) *cell_state = c;
  vector_at<Element>(f.output, f.first_row, t, at.n)[at.u] = made;
  if (f.reserve.data) {
    auto* to = vector_at<Element>(f.reserve, f.first_row, t, at.n) + at.u;
    RNNFAST_UNROLL
    for (int k = 0; k < Cell::saved; ++k) to[k * H] = from_sum<Element>(saved[k]);
  }
  if (Cell::has_c && f.cells.data) vector_at<Element>(f.cells, f.first_row, t, at.n)[at.u] = from_sum<Element>(c);
  if (t == last_step(f, length)) {
    static_cast<Element*>(f.h_n)[at.i] = made;
    if (Cell::has_c) static_cast<Element*>(f.c_n)[at.i] = from_sum<Element>(c);
  }
}

template <typename Cell, typename Element>
__global__ void __launch_bounds__(kThreads) backward_step(Backward b, StepBackward between, int64_t t, int64_t rows) {
  typedef typename SumOf<Element>::Type Sum;
  const int64_t H = b.H;
  const Place at(H);
  if (at.n >= rows) return;
  const int64_t length = length_of(b, at.n);
  if (t >= length) {
    if (!b.first_row) clear<Element>(b.dz, t, at.n, at.u, H, Cell::slots);
    return;
  }

  const bool begins = t == first_step(b, length);
  Sum dh = 0, dc = 0, mix = 0;
  if (t == last_step(b, length)) {
    if (b.grad_h_n) dh = to_sum(static_cast<const Element*>(b.grad_h_n)[at.i]);
    if (Cell::has_c && b.grad_c_n) dc = to_sum(static_cast<const Element*>(b.grad_c_n)[at.i]);
  } else {
    dh = static_cast<const Sum*>(between.grad_h)[at.i];
    if (Cell::mixes_h) dh += static_cast<const Sum*>(between.mixes)[at.i];
    if (Cell::has_c) dc = static_cast<const Sum*>(between.grad_cells)[at.i];
  }
  if (b.grad_output.data) dh += to_sum(vector_at<const Element>(b.grad_output, b.first_row, t, at.n)[at.u]);
  const Sum h = to_sum(vector_at<const Element>(b.output, b.first_row, t, at.n)[at.u]);
  Sum saved[kSaved<Cell>], dz[Cell::slots], h_before = 0, c_before = 0;
  RNNFAST_UNROLL
  for (int k = 0; k < Cell::saved; ++k)
    saved[k] = to_sum(vector_at<const Element>(b.reserve, b.first_row, t, at.n)[k * H + at.u]);
  if (Cell::mixes_h) {
    if (!begins)
      h_before = to_sum(vector_at<const Element>(b.output, b.first_row, step_before(b, t), at.n)[at.u]);
    else if (b.h0)
      h_before = to_sum(static_cast<const Element*>(b.h0)[at.i]);
  }
  if (Cell::has_c)  // the last of what is saved
    c_before = begins ? to_sum(static_cast<const Element*>(b.c0)[at.i])
                      : to_sum(vector_at<const Element>(b.reserve, b.first_row, step_before(b, t),
                                                        at.n)[(Cell::saved - 1) * H + at.u]);
  Cell::backward(dh, mix, dc, h, h_before, c_before, saved, dz);
  auto* to = vector_at<Element>(b.dz, b.first_row, t, at.n) + at.u;
  RNNFAST_UNROLL
  for (int s = 0; s < Cell::slots; ++s) to[s * H] = from_sum<Element>(dz[s]);
  auto* next = static_cast<Element*>(between.dz) + at.n * Cell::gates * H + at.u;
  RNNFAST_UNROLL
  for (int g = 0; g < Cell::gates; ++g) next[g * H] = from_sum<Element>(dz[Cell::h_slot + g]);
  if (Cell::mixes_h) static_cast<Sum*>(between.mixes)[at.i] = mix;
  if (Cell::has_c) static_cast<Sum*>(between.grad_cells)[at.i] = dc;
}

template <typename Cell, typename Element>
__global__ void __launch_bounds__(kThreads) backward_finish(Backward b, StepBackward between) {
  typedef typename SumOf<Element>::Type Sum;
  const Place at(b.H);
  if (at.n >= b.N) return;
  Sum dh = static_cast<const Sum*>(between.grad_h)[at.i];
  if (Cell::mixes_h) dh += static_cast<const Sum*>(between.mixes)[at.i];
  static_cast<Element*>(b.grad_h0)[at.i] = from_sum<Element>(dh);
  if (Cell::has_c)
    static_cast<Element*>(b.grad_c0)[at.i] = from_sum<Element>(static_cast<const Sum*>(between.grad_cells)[at.i]);
}

}  // namespace

cudaError_t step(const Forward& f, const StepForward& between, int64_t t, int64_t rows, cudaStream_t stream) {
  return with_type(f.type, [&](auto element) {
    return with_cell(f.cell, [&](auto cell) {
      return launch(forward_step<decltype(cell), decltype(element)>, shape_for(rows, f.H), stream, f, between, t, rows);
    });
  });
}

cudaError_t step(const Backward& b, const StepBackward& between, int64_t t, int64_t rows, cudaStream_t stream) {
  return with_type(b.type, [&](auto element) {
    return with_cell(b.cell, [&](auto cell) {
      return launch(backward_step<decltype(cell), decltype(element)>, shape_for(rows, b.H), stream, b, between, t,
                    rows);
    });
  });
}

cudaError_t finish(const Backward& b, const StepBackward& between, cudaStream_t stream) {
  return with_type(b.type, [&](auto element) {
    return with_cell(b.cell, [&](auto cell) {
      return launch(backward_finish<decltype(cell), decltype(element)>, shape_for(b.N, b.H), stream, b, between);
    });
  });
}

}  // namespace rnnfast::cuda
