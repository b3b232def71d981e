// The kernels around a sweep, in which every hidden unit is by itself.

#include "cuda/sweep.h"

#include "cuda/launch.h"
#include "cuda/steps.h"

namespace rnnfast::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ int64_t global_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

template <typename Element>
__global__ void __launch_bounds__(kThreads)
    write_states_before(Layer layer, Sequence<const void> output, Sequence<void> before) {
  typedef typename SumOf<Element>::Type Sum;
  const int64_t i = global_thread(), n = i / layer.H, u = i % layer.H;
  if (n >= layer.N) return;
  const int64_t length = length_of(layer, n), end = layer.first_row ? length : layer.T;
  for (int64_t t = blockIdx.y; t < end; t += gridDim.y) {
    Element h = from_sum<Element>(Sum(0));
    if (t < length) {
      if (t != first_step(layer, length))
        h = vector_at<const Element>(output, layer.first_row, step_before(layer, t), n)[u];
      else if (layer.h0)
        h = static_cast<const Element*>(layer.h0)[i];
    }
    vector_at<Element>(before, layer.first_row, t, n)[u] = h;
  }
}

template <typename Element>
__global__ void __launch_bounds__(kThreads)
    write_without_padding(Layer layer, int64_t width, Sequence<const void> from, Sequence<void> to) {
  typedef typename SumOf<Element>::Type Sum;
  const int64_t i = global_thread(), n = i / width, k = i % width;
  if (n >= layer.N) return;
  const int64_t length = length_of(layer, n), end = layer.first_row ? length : layer.T;
  for (int64_t t = blockIdx.y; t < end; t += gridDim.y)
    vector_at<Element>(to, layer.first_row, t, n)[k] =
        t < length ? vector_at<const Element>(from, layer.first_row, t, n)[k] : from_sum<Element>(Sum(0));
}

template <typename Cell, typename Element>
__global__ void __launch_bounds__(kThreads)
    write_outputs(Layer layer, Sequence<const void> reserve, Sequence<void> output) {
  typedef typename SumOf<Element>::Type Sum;
  const int64_t H = layer.H, i = global_thread(), n = i / H, u = i % H;
  if (n >= layer.N) return;
  const int64_t length = length_of(layer, n), end = layer.first_row ? length : layer.T;
  for (int64_t t = blockIdx.y; t < end; t += gridDim.y) {
    Sum h = 0;
    if (t < length) {
      const Element* from = vector_at<const Element>(reserve, layer.first_row, t, n) + u;
      Sum saved[Cell::saved];
      RNNFAST_UNROLL
      for (int k = 0; k < Cell::saved; ++k) saved[k] = to_sum(from[k * H]);
      h = Cell::output(saved);
    }
    vector_at<Element>(output, layer.first_row, t, n)[u] = from_sum<Element>(h);
  }
}

template <typename Cell, typename Element>
__global__ void __launch_bounds__(kThreads)
    make_again(Forward f, int64_t rows, const void* projected, const void* hidden, const void* cells,
               const void* before, void* reserve) {
  typedef typename SumOf<Element>::Type Sum;
  constexpr Tables<Cell> tables;
  const int64_t H = f.H, i = global_thread(), row = i / H, u = i % H;
  if (row >= rows) return;
  const auto *x = static_cast<const Sum*>(projected) + row * Cell::gates * H + u,
             *h = static_cast<const Sum*>(hidden) + row * Cell::gates * H + u;
  const auto *b_ih = static_cast<const Element*>(f.b_ih), *b_hh = static_cast<const Element*>(f.b_hh);
  Sum sums[Cell::sums], saved[kSaved<Cell>], c = 0;
  RNNFAST_UNROLL
  for (int s = 0; s < Cell::sums; ++s) {
    const int from_x = tables.x_gate[s], from_h = tables.h_gate[s];
    sums[s] = 0;
    if (from_x >= 0) sums[s] += x[from_x * H] + (b_ih ? to_sum(b_ih[from_x * H + u]) : 0);
    if (from_h >= 0) sums[s] += h[from_h * H] + (b_hh ? to_sum(b_hh[from_h * H + u]) : 0);
  }
  Cell::forward(sums, before ? to_sum(static_cast<const Element*>(before)[i]) : 0, c, saved);
  auto* to = static_cast<Element*>(reserve) + row * Cell::saved * H + u;
  RNNFAST_UNROLL
  for (int k = 0; k < Cell::saved; ++k) to[k * H] = from_sum<Element>(saved[k]);
  // The gates do not depend on the cell state, which is the last of what is saved.
  if (Cell::has_c) to[(Cell::saved - 1) * H] = static_cast<const Element*>(cells)[i];
}

/// Numbers that fit into the parameters of a launch.
template <typename Number>
struct Numbers {
  static constexpr int64_t kCount = 4000 / sizeof(Number);  // parameters may have 4 KB in all
  Number value[kCount];
};

template <typename Number>
__global__ void __launch_bounds__(kThreads) write_numbers(Numbers<Number> numbers, Number* to, int64_t count) {
  for (int64_t i = threadIdx.x; i < count; i += kThreads) to[i] = numbers.value[i];
}

template <typename Number>
cudaError_t put_numbers(const Number* host, Number* device, int64_t count, cudaStream_t stream) {
  for (int64_t first = 0; first < count; first += Numbers<Number>::kCount) {
    Numbers<Number> numbers = {};
    const int64_t some = count - first < Numbers<Number>::kCount ? count - first : Numbers<Number>::kCount;
    for (int64_t i = 0; i < some; ++i) numbers.value[i] = host[first + i];
    const cudaError_t error =
        launch(write_numbers<Number>, {dim3(1), dim3(kThreads)}, stream, numbers, device + first, some);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

/// A thread for every number of a vector of every batch row, which goes through the time steps of its blockIdx.y.
Shape over_time(const Layer& layer, int64_t width) {
  constexpr int64_t most = 65535;  // that a grid holds in its second dimension
  dim3 grid = blocks_for(layer.N * width, kThreads);
  grid.y = unsigned(layer.T < most ? layer.T : most);
  return {grid, dim3(kThreads)};
}

bool is_empty(const Layer& layer) { return layer.N == 0 || layer.H == 0; }

}  // namespace

cudaError_t states_before(const Layer& layer, Sequence<const void> output, Sequence<void> before, cudaStream_t stream) {
  if (is_empty(layer)) return cudaSuccess;
  return with_type(layer.type, [&](auto element) {
    return launch(write_states_before<decltype(element)>, over_time(layer, layer.H), stream, layer, output, before);
  });
}

cudaError_t without_padding(const Layer& layer, int64_t width, Sequence<const void> from, Sequence<void> to,
                            cudaStream_t stream) {
  if (layer.N == 0 || width == 0) return cudaSuccess;
  return with_type(layer.type, [&](auto element) {
    return launch(write_without_padding<decltype(element)>, over_time(layer, width), stream, layer, width, from, to);
  });
}

cudaError_t outputs(const Layer& layer, Sequence<const void> reserve, Sequence<void> output, cudaStream_t stream) {
  if (is_empty(layer)) return cudaSuccess;
  return with_type(layer.type, [&](auto element) {
    return with_cell(layer.cell, [&](auto cell) {
      typedef decltype(cell) Cell;
      if constexpr (Cell::has_c)
        return launch(write_outputs<Cell, decltype(element)>, over_time(layer, layer.H), stream, layer, reserve,
                      output);
      return cudaErrorInvalidValue;
    });
  });
}

cudaError_t remake(const Forward& f, int64_t rows, const void* projected, const void* hidden, const void* cells,
                   const void* before, void* reserve, cudaStream_t stream) {
  if (rows == 0 || f.H == 0) return cudaSuccess;
  return with_type(f.type, [&](auto element) {
    return with_cell(f.cell, [&](auto cell) {
      const Shape shape{blocks_for(rows * f.H, kThreads), dim3(kThreads)};
      return launch(make_again<decltype(cell), decltype(element)>, shape, stream, f, rows, projected, hidden, cells,
                    before, reserve);
    });
  });
}

cudaError_t put(const int32_t* host, int32_t* device, int64_t count, cudaStream_t stream) {
  return put_numbers(host, device, count, stream);
}

cudaError_t put(const int64_t* host, int64_t* device, int64_t count, cudaStream_t stream) {
  return put_numbers(host, device, count, stream);
}

}  // namespace rnnfast::cuda
