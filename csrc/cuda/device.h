// What the kernels ask of the GPU beyond plain C++: types, intrinsics, PTX. It is all here, so that the tests can put
// another header of this name in its place and run the kernels where no GPU is.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#define RNNFAST_PRAGMA(text) _Pragma(#text)
#define RNNFAST_UNROLL _Pragma("unroll")
#define RNNFAST_UNROLL_BY(count) RNNFAST_PRAGMA(unroll count)

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

// One instruction each, 2 ulp or so; what the standard library does beyond that is for numbers that do not occur here.
__device__ __forceinline__ float exponential(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * 1.44269504f));
  return result;
}
__device__ __forceinline__ float reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ double reciprocal(double x) { return 1 / x; }

/// The block's dynamic shared memory.
__device__ __forceinline__ char* shared_memory() {
  extern __shared__ __align__(128) char bytes[];
  return bytes;
}

/// Has the compiler take x for a new number here, and so what follows from it.
__device__ __forceinline__ void renew(int& x) { asm volatile("" : "+r"(x)); }

/// 16 bytes.
struct alignas(16) Chunk {
  uint32_t word[4];
};

__device__ __forceinline__ uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_of(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ uint32_t bits_of(Half x) { return __half_as_ushort(x); }
__device__ __forceinline__ uint32_t bits_of(BFloat16 x) { return __bfloat16_as_ushort(x); }

/// What the lane with this bit of its number the other way has.
__device__ __forceinline__ uint32_t of_neighbour(uint32_t x, int bit) { return __shfl_xor_sync(~0u, x, bit); }
__device__ __forceinline__ float of_neighbour(float x, int bit) { return __shfl_xor_sync(~0u, x, bit); }

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

/// The nearest number of TF32, which has 11 significant bits; ties away from zero.
__device__ __forceinline__ float round_to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return float_of(bits);
}

// sum += A B for 16 rows and 8 columns. a: of rows lane / 4 and lane / 4 + 8, b: of column lane / 4; sum: of the same
// rows, columns lane % 4 * 2 and the next. Along the depth a lane has what its a and b share.
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Half) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                             BFloat16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// Of numbers rounded to TF32.
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#else  // no plan multiplies there

__device__ __forceinline__ float round_to_tf32(float x) { return x; }
template <typename Element>
__device__ __forceinline__ void multiply_add(float (&)[4], const uint32_t (&)[4], uint32_t, uint32_t, Element) {}

#endif

/// Brings a number's line into the L2 cache.
__device__ __forceinline__ void prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// Blocks that talk by device memory, which is the L2 cache.

/// A word and, above it, the step that it is sent for. Both are written and read in one piece, so that whoever finds
/// the step has the word: no fence and no counter stand between blocks, and a message takes one way through the cache.
/// The idea is that of NCCL's low-latency protocol.
typedef uint64_t Letter;

/// Two of them side by side; to: aligned to 16 bytes.
__device__ __forceinline__ void post(Letter* to, uint32_t first, uint32_t second, unsigned step) {
  const Letter above = Letter(step) << 32;
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(above | first), "l"(above | second)
               : "memory");
}
/// Whether all four are of this step; chunk: their words, if so.
__device__ __forceinline__ bool have_come(const Letter* from, unsigned step, Chunk& chunk) {
  bool all = true;
  RNNFAST_UNROLL
  for (int i = 0; i < 4; i += 2) {
    Letter first, second;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(first), "=l"(second) : "l"(from + i) : "memory");
    chunk.word[i] = uint32_t(first);
    chunk.word[i + 1] = uint32_t(second);
    all = all && first >> 32 == step && second >> 32 == step;
  }
  return all;
}
// Blocks of a cluster. A barrier lies in shared memory; a phase of it ends when the block has armed it and as many
// bytes as were announced have arrived. Bytes may arrive before that.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

typedef uint64_t Barrier;

__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return uint32_t(__cvta_generic_to_shared(shared));
}
__device__ __forceinline__ uint32_t address_in(uint32_t shared, int rank) {
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
  return address;
}
__device__ __forceinline__ void wait_for_cluster() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
__device__ __forceinline__ void begin(Barrier* barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void arm(Barrier* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
/// parity: of the phase, which is counted from 0.
__device__ __forceinline__ void wait_for(Barrier* barrier, unsigned parity) {
  uint32_t done;
  do
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  while (!done);
}
/// Stores to where the own address would be in the block of this rank, and counts the bytes at its barrier there.
__device__ __forceinline__ void send(int rank, void* shared, const Chunk& chunk, Barrier* barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1,%2,%3,%4}, [%5];" ::"r"(
                   address_in(shared_address(shared), rank)),
               "r"(chunk.word[0]), "r"(chunk.word[1]), "r"(chunk.word[2]), "r"(chunk.word[3]),
               "r"(address_in(shared_address(barrier), rank))
               : "memory");
}
__device__ __forceinline__ void send(int rank, void* shared, float x, float y, Barrier* barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1,%2}, [%3];" ::"r"(
                   address_in(shared_address(shared), rank)),
               "r"(bits_of(x)), "r"(bits_of(y)), "r"(address_in(shared_address(barrier), rank))
               : "memory");
}

#else  // no plan has clusters there

typedef uint64_t Barrier;

__device__ __forceinline__ void wait_for_cluster() {}
__device__ __forceinline__ void begin(Barrier*) {}
__device__ __forceinline__ void arm(Barrier*, unsigned) {}
__device__ __forceinline__ void wait_for(Barrier*, unsigned) {}
__device__ __forceinline__ void send(int, void*, const Chunk&, Barrier*) {}
__device__ __forceinline__ void send(int, void*, float, float, Barrier*) {}

#endif

}  // namespace rnnfast::cuda
