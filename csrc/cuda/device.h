// What the kernels ask of the GPU beyond plain C++: types, intrinsics, PTX. It is all here, so that the tests can put
// another header of this name in its place and run the kernels where no GPU is.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#define RNNFAST_UNROLL _Pragma("unroll")

namespace rnnfast::cuda {

typedef __half Half;
typedef __nv_bfloat16 BFloat16;

__device__ __forceinline__ float to_sum(float x) { return x; }
__device__ __forceinline__ double to_sum(double x) { return x; }
__device__ __forceinline__ float to_sum(Half x) { return __half2float(x); }
__device__ __forceinline__ float to_sum(BFloat16 x) { return __bfloat162float(x); }

template <typename Element, typename Sum>
__device__ __forceinline__ Element from_sum(Sum x) {
  return static_cast<Element>(x);
}
template <>
__device__ __forceinline__ Half from_sum<Half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ BFloat16 from_sum<BFloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// 2 ulp and a little more each; the float forms of the standard library cost branches for numbers that do not occur.
__device__ __forceinline__ float exponential(float x) { return __expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float reciprocal(float x) { return __frcp_rn(x); }
__device__ __forceinline__ double reciprocal(double x) { return 1 / x; }
__device__ __forceinline__ float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ __forceinline__ double hyperbolic_tangent(double x) { return tanh(x); }

/// The block's dynamic shared memory.
__device__ __forceinline__ char* shared_memory() {
  extern __shared__ __align__(128) char bytes[];
  return bytes;
}

}  // namespace rnnfast::cuda
