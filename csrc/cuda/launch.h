// Puts a kernel on a stream; every launch of csrc/cuda goes through here.
#pragma once

#include <cuda_runtime.h>

#include "cuda/cell.h"
#include "cuda/sweep.h"

namespace rnnfast::cuda {

struct Shape {
  dim3 grid, block;
  size_t shared_bytes = 0;
  size_t shared_limit = 0;   // that the kernel may ever have, the same at every launch
  int cluster = 1;           // blocks that may address each other's shared memory
  bool cooperative = false;  // all blocks are there at once
};

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), const Shape& shape, cudaStream_t stream, Arguments... arguments) {
  constexpr int portable_cluster = 8;
  cudaError_t error = cudaSuccess;
  // Threads share the kernel's limit: what one of them lowered would fail the launch of another.
  if (shape.shared_limit > 0)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shape.shared_limit));
  if (error == cudaSuccess && shape.cluster > portable_cluster)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = unsigned(shape.cluster);
    attributes[count].val.clusterDim.y = attributes[count].val.clusterDim.z = 1;
    ++count;
  }
  if (shape.cooperative) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count].val.cooperative = 1;
    ++count;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

/// Blocks of one dimension that hold `count` threads.
inline dim3 blocks_for(int64_t count, int threads) { return dim3(unsigned((count + threads - 1) / threads)); }

/// each(Cell{}) for the cell of this number.
template <typename Each>
cudaError_t with_cell(int cell, const Each& each) {
  int number = 0;
#define RNNFAST_CASE(name, Cell) \
  if (cell == number++) return each(Cell{});
  RNNFAST_CELLS(RNNFAST_CASE)
#undef RNNFAST_CASE
  return cudaErrorInvalidValue;
}

/// each(Element{}) for the type.
template <typename Each>
cudaError_t with_type(Type type, const Each& each) {
  switch (type) {
    case Type::kFloat32:
      return each(float{});
    case Type::kFloat16:
      return each(Half{});
    case Type::kBFloat16:
      return each(BFloat16{});
    case Type::kFloat64:
      return each(double{});
  }
  return cudaErrorInvalidValue;
}

}  // namespace rnnfast::cuda
