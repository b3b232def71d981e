// Stands in for CUDA's header of this name where the kernels run in the emulator: the host's calls that csrc/cuda
// makes. A stream is in order and done at once; device memory is the host's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

namespace emulator {
/// One number of who the running thread is.
template <Index Self::* index, unsigned Index::* part>
struct Part {
  operator unsigned() const { return self().*index.*part; }
};
template <Index Self::* index>
struct Parts {
  Part<index, &Index::x> x;
  Part<index, &Index::y> y;
  Part<index, &Index::z> z;
};
}  // namespace emulator

inline constexpr emulator::Parts<&emulator::Self::thread> threadIdx;
inline constexpr emulator::Parts<&emulator::Self::block> blockIdx;
inline constexpr emulator::Parts<&emulator::Self::block_size> blockDim;
inline constexpr emulator::Parts<&emulator::Self::grid_size> gridDim;

inline void __syncthreads() { emulator::wait_for_block(); }

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

typedef void* cudaStream_t;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };

inline const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : "invalid value"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone };
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

inline cudaError_t cudaGetDevice(int* device) {
  *device = emulator::device.number;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }

enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin
};

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const emulator::Device& device = emulator::device;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = device.multiprocessors;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = device.capability / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = device.capability % 10;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = device.shared_bytes;
      break;
  }
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaFuncAttributeNonPortableClusterSizeAllowed };

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

struct cudaFuncAttributes {
  int ptxVersion;
};

template <typename Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
  attributes->ptxVersion = emulator::device.capability;
  return cudaSuccess;
}

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension, cudaLaunchAttributeCooperative };

struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
    int cooperative;
  } val;
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  emulator::Launch launch{{config->gridDim.x, config->gridDim.y, config->gridDim.z},
                          {config->blockDim.x, config->blockDim.y, config->blockDim.z},
                          {1, 1, 1},
                          config->dynamicSmemBytes,
                          false};
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == cudaLaunchAttributeClusterDimension)
      launch.cluster = {attribute.val.clusterDim.x, attribute.val.clusterDim.y, attribute.val.clusterDim.z};
    else
      launch.cooperative = attribute.val.cooperative;
  }
  emulator::run(launch, [&] { kernel(arguments...); });
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveClusters(int* count, Kernel*, const cudaLaunchConfig_t* config) {
  const int blocks = int(config->attrs->val.clusterDim.x);
  if (blocks > emulator::device.largest_cluster) return cudaErrorInvalidValue;
  *count = emulator::device.multiprocessors / blocks;
  return cudaSuccess;
}
