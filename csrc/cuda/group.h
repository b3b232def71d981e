// The blocks that sweep some batch rows together, and how they know that what was sent has arrived.
//
// Two buffers take turns, one step fills what the next reads. That is enough without a barrier of the whole group: a
// block sends for the step after next only when it has all of the next, to which every block has sent its part by then;
// and a block sends only after a barrier of its own threads, behind which none of them still reads what is overwritten.
//
// In a cluster every store to another block counts its bytes at a barrier in that block's shared memory. So one message
// carries numbers and signal at once, and nobody waits for a store to be acknowledged. Through device memory every word
// carries its step, to the same end; all threads of a block then bring what was sent into shared memory, where the rest
// of a step finds it whatever way it came.
#pragma once

#include "cuda/device.h"
#include "cuda/plan.h"

namespace rnnfast::cuda {

class Group {
 public:
  /// letters: of kGrid alone, for each group of the launch as many as the plan says, zero.
  __device__ __forceinline__ Group(const Plan& plan, Letter* letters)
      : rank(int(blockIdx.x) % plan.blocks), number(int(blockIdx.x) / plan.blocks), plan_(plan), letters_(letters) {}

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
  /// The rest is for kGrid alone, `to` in shared memory what arrives, and is_sent(i) whether its i-th chunk does.
  template <typename IsSent>
  __device__ __forceinline__ void wait(int step, Chunk* to, const IsSent& is_sent) {
    if (plan_.exchange == Exchange::kCluster) {
      wait_for(barrier(step), unsigned(step - 1) >> 1 & 1);
      if (threadIdx.x == 0) arm(barrier(step), unsigned(plan_.step_bytes));
      return;
    }
    if (plan_.exchange == Exchange::kGrid) fetch(step, to, is_sent);
    __syncthreads();
  }

  /// kGrid: where a step's words for a block are, or for all blocks where these share them.
  __device__ __forceinline__ Letter* letters(int step, int to) const {
    return letters_ + (int64_t(number * 2 + (step & 1)) * plan_.inboxes + to) * plan_.inbox;
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
  static constexpr int kAtOnce = 2;  // chunks that a thread has under way

  /// What was sent for the step, into shared memory; each chunk is asked for until it has come.
  template <typename IsSent>
  __device__ __forceinline__ void fetch(int step, Chunk* to, const IsSent& is_sent) {
    const Letter* from = letters(step, plan_.inboxes > 1 ? rank : 0);
    for (int first = int(threadIdx.x); first < plan_.inbox / 4; first += kAtOnce * kSweepThreads) {
      bool left[kAtOnce];  // to come
      RNNFAST_UNROLL
      for (int k = 0; k < kAtOnce; ++k) {
        const int i = first + k * kSweepThreads;
        left[k] = i < plan_.inbox / 4 && is_sent(i);
      }
      bool any;
      do {
        any = false;
        Chunk chunk[kAtOnce];
        bool come[kAtOnce];
        RNNFAST_UNROLL
        for (int k = 0; k < kAtOnce; ++k)
          come[k] = left[k] && have_come(from + 4 * (first + k * kSweepThreads), unsigned(step), chunk[k]);
        RNNFAST_UNROLL
        for (int k = 0; k < kAtOnce; ++k) {
          if (come[k]) to[first + k * kSweepThreads] = chunk[k];
          left[k] = left[k] && !come[k];
          any = any || left[k];
        }
      } while (any);
    }
  }

  const Plan& plan_;
  Letter* const letters_;
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
