// The simple path: a launch for each time step, which is all the order that there is between blocks. A block makes the
// sums of 16 hidden units of 16 batch rows by tiles in shared memory, a thread one unit of one row with all its gates,
// and goes on to the element-wise part without leaving its registers.
//
// The weights come from the L2 cache, or from memory, every step; where they fit, resident.h keeps them.

#include "cuda/simple.h"

#include "cuda/launch.h"
#include "cuda/steps.h"

namespace rnnfast::cuda {
namespace {

constexpr int kTile = 16;   // hidden units and batch rows of a block
constexpr int kDepth = 32;  // of the product, at a time
constexpr int kThreads = kTile * kTile;
constexpr int kStride = kDepth + 1;  // of a tile's rows: no two of a warp in one bank

/// The hidden unit and the batch row of the thread, which may be past the end.
struct Place {
  int unit, row;        // in the block
  int64_t u, n;         // in the layer
  int64_t unit0, row0;  // the block's first

  __device__ Place()
      : unit(int(threadIdx.x) % kTile),
        row(int(threadIdx.x) / kTile),
        u(int64_t(blockIdx.y) * kTile + unit),
        n(int64_t(blockIdx.x) * kTile + row),
        unit0(u - unit),
        row0(n - row) {}
};

Shape shape_for(const Layer& layer, size_t shared_bytes) {
  const auto tiles = [](int64_t size) { return unsigned((size + kTile - 1) / kTile); };
  return {dim3(tiles(layer.N), tiles(layer.H)), dim3(kThreads), shared_bytes};
}

__device__ bool any_row_at(const Layer& layer, int64_t row0, int64_t t) {
  for (int64_t n = row0; n < row0 + kTile && n < layer.N; ++n)
    if (t < length_of(layer, n)) return true;
  return false;
}

template <typename Cell, typename Element>
__global__ void __launch_bounds__(kThreads, 2)
    forward_step(Forward f, typename SumOf<Element>::Type* cell_states, int64_t t) {
  typedef typename SumOf<Element>::Type Sum;
  constexpr Tables<Cell> tables;
  const Place at;
  const int64_t H = f.H, before = step_before(f, t);
  const int64_t length = at.n < f.N ? length_of(f, at.n) : 0;

  Sum product[Cell::gates] = {};
  if (any_row_at(f, at.row0, t)) {
    Sum* const hidden = reinterpret_cast<Sum*>(shared_memory());  // [kTile][kStride]
    Sum* const weights = hidden + kTile * kStride;                // [G][kTile][kStride]
    const auto* w_hh = static_cast<const Element*>(f.w_hh);
    for (int64_t k0 = 0; k0 < H; k0 += kDepth) {
      for (int i = int(threadIdx.x); i < kTile * kDepth; i += kThreads) {
        const int64_t n = at.row0 + i / kDepth, k = k0 + i % kDepth;
        Sum value = 0;
        if (n < f.N && k < H && t < length_of(f, n)) {
          if (t != first_step(f, length_of(f, n)))
            value = to_sum(vector_at<const Element>(f.output, f.first_row, before, n)[k]);
          else if (f.h0)
            value = to_sum(static_cast<const Element*>(f.h0)[n * H + k]);
        }
        hidden[i / kDepth * kStride + i % kDepth] = value;
      }
      for (int i = int(threadIdx.x); i < Cell::gates * kTile * kDepth; i += kThreads) {
        const int64_t unit = at.unit0 + i / kDepth % kTile, gate = i / (kDepth * kTile), k = k0 + i % kDepth;
        weights[i / kDepth * kStride + i % kDepth] =
            unit < H && k < H ? to_sum(w_hh[(gate * H + unit) * H + k]) : Sum(0);
      }
      __syncthreads();
      for (int k = 0; k < kDepth; ++k)
        for (int g = 0; g < Cell::gates; ++g)
          product[g] += hidden[at.row * kStride + k] * weights[(g * kTile + at.unit) * kStride + k];
      __syncthreads();
    }
  }
  if (at.n >= f.N || at.u >= H) return;
  if (t >= length) {
    if (f.first_row) return;
    clear<Element>(f.output, t, at.n, at.u, H, 1);
    clear<Element>(f.reserve, t, at.n, at.u, H, Cell::saved);
    clear<Element>(f.cells, t, at.n, at.u, H, 1);
    return;
  }

  const auto* projected = vector_at<const Sum>(f.projected, f.first_row, t, at.n);
  const auto *b_ih = static_cast<const Element*>(f.b_ih), *b_hh = static_cast<const Element*>(f.b_hh);
  Sum sums[Cell::sums], saved[kSaved<Cell>], h_before = 0, c = 0;
  RNNFAST_UNROLL
  for (int s = 0; s < Cell::sums; ++s) {
    const int x = tables.x_gate[s], h = tables.h_gate[s];
    sums[s] = 0;
    if (x >= 0) sums[s] += projected[x * H + at.u] + (b_ih ? to_sum(b_ih[x * H + at.u]) : 0);
    RNNFAST_UNROLL
    for (int g = 0; g < Cell::gates; ++g)
      if (g == h) sums[s] += product[g] + (b_hh ? to_sum(b_hh[g * H + at.u]) : 0);
  }
  const bool begins = t == first_step(f, length);
  const int64_t state = at.n * H + at.u;
  if (Cell::mixes_h) {
    if (!begins)
      h_before = to_sum(vector_at<const Element>(f.output, f.first_row, before, at.n)[at.u]);
    else if (f.h0)
      h_before = to_sum(static_cast<const Element*>(f.h0)[state]);
  }
  if (Cell::has_c) c = begins ? to_sum(static_cast<const Element*>(f.c0)[state]) : cell_states[state];
  const Element h = from_sum<Element>(Cell::forward(sums, h_before, c, saved));
  vector_at<Element>(f.output, f.first_row, t, at.n)[at.u] = h;
  if (Cell::has_c) cell_states[state] = c;
  if (f.reserve.data)
    for (int k = 0; k < Cell::saved; ++k)
      vector_at<Element>(f.reserve, f.first_row, t, at.n)[k * H + at.u] = from_sum<Element>(saved[k]);
  if (f.cells.data) vector_at<Element>(f.cells, f.first_row, t, at.n)[at.u] = from_sum<Element>(c);
  if (t == last_step(f, length)) {
    static_cast<Element*>(f.h_n)[state] = h;
    if (Cell::has_c) static_cast<Element*>(f.c_n)[state] = from_sum<Element>(c);
  }
}

/// Of the step t, or, if there is none after it (t < 0), of the states before the first one.
/// mixes, grad_cells: [N, H], what the step after this one left: the direct part of the gradient of h, that of c.
template <typename Cell, typename Element>
__global__ void __launch_bounds__(kThreads, 2) backward_step(Backward b, typename SumOf<Element>::Type* mixes,
                                                             typename SumOf<Element>::Type* grad_cells, int64_t t) {
  typedef typename SumOf<Element>::Type Sum;
  constexpr Tables<Cell> tables;
  const Place at;
  const int64_t H = b.H;
  const bool finish = t < 0;
  const int64_t length = at.n < b.N ? length_of(b, at.n) : 0;

  // dz of the step after this one, times the weights.
  Sum product = 0;
  if (finish || any_row_at(b, at.row0, t)) {
    Sum* const gradients = reinterpret_cast<Sum*>(shared_memory());  // [kTile][kStride]
    Sum* const weights = gradients + kTile * kStride;                // [kDepth][kTile]
    const auto* w_hh = static_cast<const Element*>(b.w_hh);
    for (int g = 0; g < Cell::gates; ++g)
      for (int64_t k0 = 0; k0 < H; k0 += kDepth) {
        for (int i = int(threadIdx.x); i < kTile * kDepth; i += kThreads) {
          const int64_t n = at.row0 + i / kDepth, k = k0 + i % kDepth;
          Sum value = 0;
          if (n < b.N && k < H) {
            const int64_t steps = length_of(b, n);
            const int64_t after = finish ? first_step(b, steps) : step_after(b, t);
            if (finish || (t < steps && t != last_step(b, steps)))
              value = to_sum(vector_at<const Element>(b.dz, b.first_row, after, n)[(Cell::h_slot + g) * H + k]);
          }
          gradients[i / kDepth * kStride + i % kDepth] = value;
        }
        for (int i = int(threadIdx.x); i < kTile * kDepth; i += kThreads) {
          const int64_t unit = at.unit0 + i % kTile, k = k0 + i / kTile;
          weights[i] = unit < H && k < H ? to_sum(w_hh[(tables.h_order[g] * H + k) * H + unit]) : Sum(0);
        }
        __syncthreads();
        for (int k = 0; k < kDepth; ++k) product += gradients[at.row * kStride + k] * weights[k * kTile + at.unit];
        __syncthreads();
      }
  }
  if (at.n >= b.N || at.u >= H) return;
  const int64_t state = at.n * H + at.u;
  if (finish) {
    if (Cell::mixes_h) product += mixes[state];
    static_cast<Element*>(b.grad_h0)[state] = from_sum<Element>(product);
    if (Cell::has_c) static_cast<Element*>(b.grad_c0)[state] = from_sum<Element>(grad_cells[state]);
    return;
  }
  if (t >= length) {
    if (!b.first_row) clear<Element>(b.dz, t, at.n, at.u, H, Cell::slots);
    return;
  }

  const bool begins = t == first_step(b, length), ends = t == last_step(b, length);
  const int64_t before = step_before(b, t);
  Sum dh = product, dc = 0, mix = 0;
  if (ends) {
    if (b.grad_h_n) dh += to_sum(static_cast<const Element*>(b.grad_h_n)[state]);
    if (Cell::has_c && b.grad_c_n) dc = to_sum(static_cast<const Element*>(b.grad_c_n)[state]);
  } else {
    if (Cell::mixes_h) dh += mixes[state];
    if (Cell::has_c) dc = grad_cells[state];
  }
  if (b.grad_output.data) dh += to_sum(vector_at<const Element>(b.grad_output, b.first_row, t, at.n)[at.u]);
  const Sum h = to_sum(vector_at<const Element>(b.output, b.first_row, t, at.n)[at.u]);
  Sum saved[kSaved<Cell>], dz[Cell::slots], h_before = 0, c_before = 0;
  RNNFAST_UNROLL
  for (int k = 0; k < Cell::saved; ++k)
    saved[k] = to_sum(vector_at<const Element>(b.reserve, b.first_row, t, at.n)[k * H + at.u]);
  if (Cell::mixes_h) {
    if (!begins)
      h_before = to_sum(vector_at<const Element>(b.output, b.first_row, before, at.n)[at.u]);
    else if (b.h0)
      h_before = to_sum(static_cast<const Element*>(b.h0)[state]);
  }
  if (Cell::has_c)  // the last of what is saved
    c_before =
        begins ? to_sum(static_cast<const Element*>(b.c0)[state])
               : to_sum(vector_at<const Element>(b.reserve, b.first_row, before, at.n)[(Cell::saved - 1) * H + at.u]);
  Cell::backward(dh, mix, dc, h, h_before, c_before, saved, dz);
  RNNFAST_UNROLL
  for (int s = 0; s < Cell::slots; ++s)
    vector_at<Element>(b.dz, b.first_row, t, at.n)[s * H + at.u] = from_sum<Element>(dz[s]);
  if (Cell::mixes_h) mixes[state] = mix;
  if (Cell::has_c) grad_cells[state] = dc;
}

size_t state_bytes(const Layer& layer) {
  const size_t bytes = size_t(layer.N) * layer.H * (layer.type == Type::kFloat64 ? sizeof(double) : sizeof(float));
  return (bytes + 255) / 256 * 256;
}

}  // namespace

size_t simple_workspace(const Forward& f) { return state_bytes(f); }
size_t simple_workspace(const Backward& b) { return 2 * state_bytes(b); }

cudaError_t simple_sweep(const Forward& f, void* workspace, cudaStream_t stream) {
  return with_type(f.type, [&](auto element) {
    return with_cell(f.cell, [&](auto cell) {
      typedef decltype(cell) Cell;
      typedef decltype(element) Element;
      typedef typename SumOf<Element>::Type Sum;
      const Shape shape = shape_for(f, (1 + Cell::gates) * kTile * kStride * sizeof(Sum));
      for (int64_t s = 0; s < f.T; ++s) {
        const cudaError_t error = launch(forward_step<Cell, Element>, shape, stream, f, static_cast<Sum*>(workspace),
                                         f.reverse ? f.T - 1 - s : s);
        if (error != cudaSuccess) return error;
      }
      return cudaSuccess;
    });
  });
}

cudaError_t simple_sweep(const Backward& b, void* workspace, cudaStream_t stream) {
  return with_type(b.type, [&](auto element) {
    return with_cell(b.cell, [&](auto cell) {
      typedef decltype(cell) Cell;
      typedef decltype(element) Element;
      typedef typename SumOf<Element>::Type Sum;
      const Shape shape = shape_for(b, (kTile * kStride + kDepth * kTile) * sizeof(Sum));
      auto* mixes = static_cast<Sum*>(workspace);
      auto* grad_cells = reinterpret_cast<Sum*>(static_cast<char*>(workspace) + state_bytes(b));
      for (int64_t s = 0; s <= b.T; ++s) {
        const int64_t t = s == b.T ? -1 : b.reverse ? s : b.T - 1 - s;
        const cudaError_t error = launch(backward_step<Cell, Element>, shape, stream, b, mixes, grad_cells, t);
        if (error != cudaSuccess) return error;
      }
      return cudaSuccess;
    });
  });
}

}  // namespace rnnfast::cuda
