// The path for everything: any GPU, any size, double precision too. For every time step a product of matrices, which
// the caller makes with its library, and a launch for the rest of the step.
#pragma once

#include "cuda/sweep.h"

namespace rnnfast::cuda {

/// What one step leaves for the next: matrices on the device, dense, a row for each batch row. A row that has no such
/// time step is left as it is.
struct StepForward {
  void* states;       // [N, H] h, of the layer's type; before the first step h0
  const void* sums;   // [N, G*H] states W_hh^T, in sums; the caller makes it before every step
  void* cell_states;  // [N, H] c, in sums, null for cells without; before the first step c0
};
struct StepBackward {
  void* dz;                  // [N, G*H] gradients of W_hh h_(t-1), slot by slot, of the layer's type
  const void* grad_h;        // [N, H] dz W_hh, in sums; the caller makes it before every step but the first
  void *mixes, *grad_cells;  // [N, H] each, in sums: the direct part of the gradient of h_(t-1); that of c_(t-1)
};

/// A time step, of the batch rows [0, rows). What has no such time step gets zeros, unless it is packed.
cudaError_t step(const Forward&, const StepForward&, int64_t t, int64_t rows, cudaStream_t);
cudaError_t step(const Backward&, const StepBackward&, int64_t t, int64_t rows, cudaStream_t);

/// After the last step and one more product: the gradients of the states before the first one.
cudaError_t finish(const Backward&, const StepBackward&, cudaStream_t);

}  // namespace rnnfast::cuda
