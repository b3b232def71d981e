// The fast path: one launch for all time steps, with the weights in registers and shared memory. plan.h says what fits.
#pragma once

#include "cuda/plan.h"
#include "cuda/sweep.h"

namespace rnnfast::cuda {

/// The plan for a sweep on the current device; it does not exist where stepwise.h has to do, or does better.
Plan resident_plan(const Forward&);
Plan resident_plan(const Backward&);

/// Bytes of device memory that the sweep needs for itself, aligned to 256; its content does not matter.
size_t resident_workspace(const Plan&);
cudaError_t resident_sweep(const Forward&, const Plan&, void* workspace, cudaStream_t);
cudaError_t resident_sweep(const Backward&, const Plan&, void* workspace, cudaStream_t);

}  // namespace rnnfast::cuda
