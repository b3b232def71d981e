// The blocks that sweep some batch rows together, and how they know that what was sent has arrived.
//
// Two buffers take turns, one step fills what the next reads. That is enough without a barrier of the whole group: a
// block sends for the step after next only when it has all of the next, to which every block has sent its part by then;
// and a block sends only after a barrier of its own threads, behind which none of them still reads what is overwritten.
//
// In a cluster every store to another block counts its bytes at a barrier in that block's shared memory. So one message
// carries numbers and signal at once, and nobody waits for a store to be acknowledged.
#pragma once

#include "cuda/device.h"
#include "cuda/plan.h"

namespace rnnfast::cuda {

class Group {
 public:
  /// counters: one for each group of the launch, zero; kGrid alone.
  __device__ __forceinline__ Group(const Plan& plan, unsigned* counters)
      : rank(int(blockIdx.x) % plan.blocks), number(int(blockIdx.x) / plan.blocks), plan_(plan), counters_(counters) {}

  /// At every step; see Pairs.
  __device__ __forceinline__ void renew() {
    cuda::renew(rank);
    cuda::renew(number);
  }

  /// All threads, once what is in shared memory at the start is written.
  __device__ __forceinline__ void open() {
    if (plan_.exchange != Exchange::kCluster) return __syncthreads();
    if (threadIdx.x == 0)
      for (int i = 0; i < 2; ++i) {
        begin(barrier(i));
        arm(barrier(i), unsigned(plan_.step_bytes));
      }
    wait_for_cluster();
  }

  /// Until all that was sent for this step is there; steps count from 1. All threads.
  __device__ __forceinline__ void wait(int step) {
    if (plan_.exchange == Exchange::kCluster) {
      wait_for(barrier(step), unsigned(step - 1) >> 1 & 1);
      if (threadIdx.x == 0) arm(barrier(step), unsigned(plan_.step_bytes));
      return;
    }
    __syncthreads();
    if (plan_.exchange == Exchange::kBlock) return;
    if (threadIdx.x == 0) {
      count_up(counters_ + number);
      wait_until_counted(counters_ + number, unsigned(step) * unsigned(plan_.blocks));
    }
    __syncthreads();
  }

  /// All threads, at the end: nobody leaves while others may still send to it.
  __device__ __forceinline__ void close() {
    if (plan_.exchange == Exchange::kCluster) wait_for_cluster();
  }

  __device__ __forceinline__ Barrier* barrier(int step) const {
    return reinterpret_cast<Barrier*>(shared_memory() + plan_.barriers) + (step & 1);
  }

  int rank, number;  // of the block in its group, of the group in its launch

 private:
  const Plan& plan_;
  unsigned* const counters_;
};

/// The hidden units of batch rows that a thread has in the element-wise part of a step. A warp has 8 units of 4 rows at
/// a time: what it reads and writes then is whole sectors of 32 bytes, and 8 lanes have what is sent together.
template <int kPairs>
class Pairs {
 public:
  __device__ __forceinline__ explicit Pairs(const Plan& plan) {
    const int lane = int(threadIdx.x) % 32, across = plan.units / kUnitStep;
    RNNFAST_UNROLL
    for (int j = 0; j < kPairs; ++j) {
      const int tile = j * kSweepWarps + int(threadIdx.x) / 32;
      place_[j] = (tile / across * 4 + lane / kUnitStep) << 16 | (tile % across * kUnitStep + lane % kUnitStep);
    }
  }

  /// In the block, and in the group.
  __device__ __forceinline__ int unit(int j) const { return place_[j] & 0xffff; }
  __device__ __forceinline__ int column(int j) const { return place_[j] >> 16; }

  /// At every step: the weights need the registers in which the compiler would keep all that follows from a place.
  __device__ __forceinline__ void renew() {
    RNNFAST_UNROLL
    for (int j = 0; j < kPairs; ++j) cuda::renew(place_[j]);
  }

 private:
  int place_[kPairs];
};

}  // namespace rnnfast::cuda
