// Where a batch row is in time, and where its vectors stand. Letters as in cuda/sweep.h.
//
// A row has the time steps [0, length). Going forward in the sense of the layer it begins at its first one, or, with
// reverse, at its own last one.
#pragma once

#include "cuda/cell.h"
#include "cuda/sweep.h"

namespace rnnfast::cuda {

/// The vector of batch row n at time step t.
template <typename Element, typename Void>
__device__ __forceinline__ Element* vector_at(const Sequence<Void>& sequence, const int64_t* first_row, int64_t t,
                                              int64_t n) {
  auto* data = static_cast<Element*>(sequence.data);
  return data +
         (first_row ? (first_row[t] + n) * sequence.row_stride : t * sequence.time_stride + n * sequence.row_stride);
}

__device__ __forceinline__ int64_t length_of(const Layer& layer, int64_t n) {
  return layer.lengths ? layer.lengths[n] : layer.T;
}

/// The first and the last time step in the order of the layer.
__device__ __forceinline__ int64_t first_step(const Layer& layer, int64_t length) {
  return layer.reverse ? length - 1 : 0;
}
__device__ __forceinline__ int64_t last_step(const Layer& layer, int64_t length) {
  return layer.reverse ? 0 : length - 1;
}
__device__ __forceinline__ int64_t step_before(const Layer& layer, int64_t t) { return layer.reverse ? t + 1 : t - 1; }
__device__ __forceinline__ int64_t step_after(const Layer& layer, int64_t t) { return layer.reverse ? t - 1 : t + 1; }

/// A time step and, where the sequences are packed, the row at which it begins. What tells it is in memory, so it is
/// asked for ahead of time.
struct Moment {
  int t, row;
};

__device__ __forceinline__ int packed_row(const Layer& layer, int t) {
  return layer.first_row ? int(layer.first_row[t]) : 0;
}

/// A sequence's vectors of one time step, where sizes and strides have 32 bits: one multiplication finds a number.
template <typename Element>
struct Vectors {
  Element* first;  // of batch row 0
  int row_stride;

  template <typename Void>
  __device__ __forceinline__ Vectors(const Layer& layer, const Sequence<Void>& sequence, const Moment& moment)
      : first(static_cast<Element*>(sequence.data) +
              int64_t(layer.first_row ? moment.row : moment.t) *
                  int(layer.first_row ? sequence.row_stride : sequence.time_stride)),
        row_stride(int(sequence.row_stride)) {}

  __device__ __forceinline__ Element* at(int n, int unit) const { return first + int64_t(n) * row_stride + unit; }
};

/// Writes zeros to hidden unit u of some vectors side by side, if there is such a sequence, which is not packed.
template <typename Element, typename Void>
__device__ __forceinline__ void clear(const Sequence<Void>& sequence, int64_t t, int64_t n, int64_t u, int64_t H,
                                      int vectors) {
  if (!sequence.data) return;
  auto* to = vector_at<Element>(sequence, nullptr, t, n);
  for (int k = 0; k < vectors; ++k) to[k * H + u] = from_sum<Element>(typename SumOf<Element>::Type(0));
}

}  // namespace rnnfast::cuda
