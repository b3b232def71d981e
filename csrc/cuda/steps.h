// Where a batch row is in time, and where its vectors stand. Letters as in cuda/sweep.h.
//
// A row has the time steps [0, length). Going forward in the sense of the layer it begins at its first one, or, with
// reverse, at its own last one.
#pragma once

#include "cuda/device.h"
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

}  // namespace rnnfast::cuda
