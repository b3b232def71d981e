// What the fast path asks of the device: how many clusters of each size it holds, once for each device.

#include <algorithm>
#include <map>
#include <mutex>

#include "cuda/launch.h"
#include "cuda/resident_launch.h"

namespace rnnfast::cuda {
namespace {

/// Takes a multiprocessor for itself, as the sweeps do.
__global__ void __launch_bounds__(kSweepThreads, 1) whole_multiprocessor() {}

cudaError_t count_clusters(int blocks, int shared_bytes, int* count) {
  *count = 0;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = unsigned(blocks);
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(kSweepThreads);
  config.dynamicSmemBytes = size_t(shared_bytes);
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaOccupancyMaxActiveClusters(count, whole_multiprocessor, &config);
}

cudaError_t ask(int device, Gpu& gpu) {
  gpu = {};
  int major, minor;
  const std::pair<cudaDeviceAttr, int*> attributes[] = {
      {cudaDevAttrMultiProcessorCount, &gpu.multiprocessors},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, &gpu.shared_bytes},
      {cudaDevAttrComputeCapabilityMajor, &major},
      {cudaDevAttrComputeCapabilityMinor, &minor},
  };
  for (const auto& [attribute, value] : attributes) {
    const cudaError_t error = cudaDeviceGetAttribute(value, attribute, device);
    if (error != cudaSuccess) return error;
  }
  // What the kernels were compiled for counts as well: what is older than the device lacks what they leave out below
  // it.
  cudaFuncAttributes compiled = {};
  const cudaError_t found = cudaFuncGetAttributes(&compiled, whole_multiprocessor);
  if (found != cudaSuccess) return found;
  gpu.capability = std::min(major * 10 + minor, compiled.ptxVersion);
  gpu.clusters[1] = gpu.multiprocessors;
  if (gpu.capability < 90) return cudaSuccess;
  cudaError_t error =
      cudaFuncSetAttribute(whole_multiprocessor, cudaFuncAttributeMaxDynamicSharedMemorySize, gpu.shared_bytes);
  if (error == cudaSuccess)
    error = cudaFuncSetAttribute(whole_multiprocessor, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  if (error != cudaSuccess) return error;
  for (int blocks = 2; blocks <= kLargestCluster; ++blocks)
    // A size that the device does not know is an error, which must not come up again at the next launch.
    if (count_clusters(blocks, gpu.shared_bytes, &gpu.clusters[blocks]) != cudaSuccess) {
      gpu.clusters[blocks] = 0;
      cudaGetLastError();
    }
  return cudaSuccess;
}

}  // namespace

size_t resident_workspace(const Plan& plan) {
  return plan.exchange == Exchange::kGrid ? size_t(plan.groups) * 2 * plan.inboxes * plan.inbox * kLetterBytes : 0;
}

cudaError_t find_gpu(Gpu& gpu) {
  int device;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  static std::mutex mutex;
  static std::map<int, Gpu> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(device);
  if (found != known.end()) {
    gpu = found->second;
    return cudaSuccess;
  }
  const cudaError_t asked = ask(device, gpu);
  if (asked == cudaSuccess) known[device] = gpu;
  return asked;
}

}  // namespace rnnfast::cuda
