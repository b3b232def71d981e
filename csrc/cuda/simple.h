// The path for everything: any GPU, any size, double precision too. One launch for each time step.
#pragma once

#include "cuda/sweep.h"

namespace rnnfast::cuda {

size_t simple_workspace(const Forward&);
size_t simple_workspace(const Backward&);
cudaError_t simple_sweep(const Forward&, void* workspace, cudaStream_t);
cudaError_t simple_sweep(const Backward&, void* workspace, cudaStream_t);

}  // namespace rnnfast::cuda
