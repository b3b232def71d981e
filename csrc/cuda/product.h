// The product of a time step: weights that stay with a warp for the whole sweep, times what comes in at every step.
//
// A depth block is four chunks of 16 bytes for every row and every column (plan.h). Lane l has the chunk l % 4 of rows
// l / 4 and l / 4 + 8 of two tiles of 16 rows: a fragment, eight registers wide for each tile. That is a fragment of
// mma.sync twice over: which place along the depth a number has does not matter, as long as both factors agree, so a
// lane takes 16 consecutive bytes where the instruction's own order would have it gather. The columns' chunks lie in
// shared memory in the order of the lanes, so that a warp reads 512 consecutive bytes.
//
// Scalar FMAs go by the same fragments; their four lanes of a row add up at the end, to the same sums in the same
// place.
#pragma once

#include "cuda/cell.h"
#include "cuda/plan.h"

namespace rnnfast::cuda {

/// Weights of a lane: of two tiles of 16 rows the rows lane / 4 (upper) and lane / 4 + 8 (lower), of which it has a
/// chunk each. They lie as the instruction takes them, so that what is loaded needs no move: for either half of the
/// chunks upper, lower, upper, lower.
struct Fragment {
  Chunk part[2][2];

  __device__ __forceinline__ void set(int tile, const Chunk& upper, const Chunk& lower) {
    RNNFAST_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint32_t *from_upper = upper.word + half * 2, *from_lower = lower.word + half * 2;
      part[tile][half] = {{from_upper[0], from_lower[0], from_upper[1], from_lower[1]}};
    }
  }

  /// The k-th word of a row's chunk.
  __device__ __forceinline__ uint32_t word(int tile, bool lower, int k) const {
    return part[tile][k / 2].word[k % 2 * 2 + lower];
  }
};

/// Of a warp: rows lane / 4 (0, 1) and lane / 4 + 8 (2, 3), columns lane % 4 * 2 and the next, of two tiles of rows.
template <int kColumnTiles>
struct Sums {
  float value[2][kColumnTiles][4];
};

/// By tensor cores, from half precision or, where the layer's numbers are float, from TF32.
template <typename Element_, int kColumnTiles_>
struct MatrixUnits {
  typedef Element_ Element;
  static constexpr int kColumnTiles = kColumnTiles_;
  // Fragments of a warp in registers: 80 or 64 of a lane's 168. With one more the element-wise part would not fit.
  static constexpr int kKept = kColumnTiles == 1 ? 5 : 4;
  static constexpr bool kScalar = false;

  static constexpr bool kTf32 = sizeof(Element) == sizeof(float);

  static __device__ __forceinline__ Element rounded(Element x) {
    if constexpr (kTf32) x = round_to_tf32(x);
    return x;
  }
  static __device__ __forceinline__ Chunk rounded(Chunk chunk) {
    RNNFAST_UNROLL
    for (int i = 0; kTf32 && i < 4; ++i) chunk.word[i] = bits_of(round_to_tf32(float_of(chunk.word[i])));
    return chunk;
  }

  Sums<kColumnTiles> sums = {};

  struct Operand {
    Chunk chunk[kColumnTiles];
  };

  static __device__ __forceinline__ Operand load(const char* depth_block, int lane) {
    Operand operand;
    RNNFAST_UNROLL
    for (int i = 0; i < kColumnTiles; ++i)
      operand.chunk[i] = reinterpret_cast<const Chunk*>(depth_block)[i * kColumnStep * 4 + lane];
    return operand;
  }

  __device__ __forceinline__ void add(const Fragment& weights, const Operand& operand) {
    RNNFAST_UNROLL
    for (int column_tile = 0; column_tile < kColumnTiles; ++column_tile) {
      const Chunk& other = operand.chunk[column_tile];
      RNNFAST_UNROLL
      for (int half = 0; half < 2; ++half) {
        RNNFAST_UNROLL
        for (int tile = 0; tile < 2; ++tile)
          multiply_add(sums.value[tile][column_tile], weights.part[tile][half].word, other.word[half * 2],
                       other.word[half * 2 + 1], Element{});
      }
    }
  }

  __device__ __forceinline__ void add(const Fragment& weights, const char* depth_block, int lane) {
    add(weights, load(depth_block, lane));
  }

  /// The first `count` of the fragments.
  __device__ __forceinline__ void add(const Fragment (&weights)[kKept], const char* depth_block, int depth_bytes,
                                      int count, int lane) {
    RNNFAST_UNROLL
    for (int k = 0; k < kKept; ++k)
      if (k < count) add(weights[k], depth_block + k * depth_bytes, lane);
  }

  __device__ __forceinline__ Sums<kColumnTiles> total() const { return sums; }
};

/// By scalar FMAs in full single precision.
struct ScalarUnits {
  typedef float Element;
  static constexpr int kColumnTiles = 1;
  static constexpr int kKept = 2;
  static constexpr bool kScalar = true;

  static __device__ __forceinline__ float rounded(float x) { return x; }
  static __device__ __forceinline__ Chunk rounded(const Chunk& chunk) { return chunk; }

  float sums[2][2][kColumnStep] = {};  // over the lane's own quarter of the depth

  __device__ __forceinline__ void add(const Fragment& weights, const char* depth_block, int lane) {
    RNNFAST_UNROLL
    for (int column = 0; column < kColumnStep; ++column) {
      const Chunk operand = *(reinterpret_cast<const Chunk*>(depth_block) + column * 4 + lane % 4);
      RNNFAST_UNROLL
      for (int k = 0; k < 4; ++k) {
        RNNFAST_UNROLL
        for (int row = 0; row < 4; ++row)
          sums[row / 2][row % 2][column] += float_of(weights.word(row / 2, row % 2, k)) * float_of(operand.word[k]);
      }
    }
  }

  __device__ __forceinline__ void add(const Fragment (&weights)[kKept], const char* depth_block, int depth_bytes,
                                      int count, int lane) {
    RNNFAST_UNROLL
    for (int k = 0; k < kKept; ++k)
      if (k < count) add(weights[k], depth_block + k * depth_bytes, lane);
  }

  /// Halves the columns of a lane with each of the two neighbours that it adds to.
  __device__ __forceinline__ Sums<1> total() const {
    const int lane = int(threadIdx.x) % 32;
    const bool odd = lane & 1, upper = lane & 2;
    Sums<1> result;
    RNNFAST_UNROLL
    for (int row = 0; row < 4; ++row) {
      const float (&own)[kColumnStep] = sums[row / 2][row % 2];
      float four[4], two[2];
      RNNFAST_UNROLL
      for (int i = 0; i < 4; ++i)
        four[i] = (upper ? own[4 + i] : own[i]) + of_neighbour(upper ? own[i] : own[4 + i], 2);
      RNNFAST_UNROLL
      for (int i = 0; i < 2; ++i) two[i] = (odd ? four[2 + i] : four[i]) + of_neighbour(odd ? four[i] : four[2 + i], 1);
      result.value[row / 2][0][row % 2 * 2] = two[0];
      result.value[row / 2][0][row % 2 * 2 + 1] = two[1];
    }
    return result;
  }
};

/// A warp's share of the weights, and its place in the product.
template <typename Units>
class Weights {
 public:
  /// chunk(row, k): the numbers k, k + 1, ... of a row of the weights, zeros past its end.
  template <typename ChunkOf>
  __device__ __forceinline__ Weights(const Plan& plan, const ChunkOf& chunk) : plan_(plan) {
    const int warp = int(threadIdx.x) / 32;
    row_warp_ = warp % plan.row_warps;
    depth_warp_ = warp / plan.row_warps;
    const int first = depth_warp_ * plan.depth_each, left = plan.depth - first;
    count_ = depth_warp_ >= plan.depth_warps || left <= 0 ? 0 : left < plan.depth_each ? left : plan.depth_each;
    Chunk* to = stored();
    for (int group = row_warp_; group < plan.row_groups; group += plan.row_warps)
      for (int i = 0; i < count_; ++i) {
        const Fragment fragment = read(chunk, group, first + i);
        // Registers have no addresses: of all that are kept the right one is picked, once.
        if (group == row_warp_ && i < Units::kKept) {
          RNNFAST_UNROLL
          for (int k = 0; k < Units::kKept; ++k)
            if (k == i) kept_[k] = fragment;
          continue;
        }
        RNNFAST_UNROLL
        for (int part = 0; part < 4; ++part, to += 32) *to = fragment.part[part / 2][part % 2];
      }
  }

  /// The product with an operand in shared memory; each(first row, sums) for every 32 rows that the warp has.
  template <typename Each>
  __device__ __forceinline__ void multiply(const char* operand, const Each& each) const {
    if (depth_warp_ >= plan_.depth_warps) return;
    const int lane = int(threadIdx.x) % 32, depth_bytes = plan_.columns * kDepthBytes;
    operand += depth_warp_ * plan_.depth_each * depth_bytes;
    const Chunk* from = stored();
    for (int group = row_warp_; group < plan_.row_groups; group += plan_.row_warps) {
      Units units;
      int i = 0;
      if (group == row_warp_) {
        units.add(kept_, operand, depth_bytes, count_, lane);
        i = Units::kKept;
      }
      RNNFAST_UNROLL_BY(Units::kScalar ? 1 : 2)
      for (; i < count_; ++i) {
        Fragment fragment;
        RNNFAST_UNROLL
        for (int part = 0; part < 4; ++part, from += 32) fragment.part[part / 2][part % 2] = *from;
        units.add(fragment, operand + i * depth_bytes, lane);
      }
      each(group * kFragmentRows, units.total());
    }
  }

  __device__ __forceinline__ int depth_warp() const { return depth_warp_; }

 private:
  template <typename ChunkOf>
  static __device__ __forceinline__ Fragment read(const ChunkOf& chunk, int row_group, int depth_block) {
    constexpr int numbers = kChunkBytes / sizeof(typename Units::Element);
    const int lane = int(threadIdx.x) % 32, row = row_group * kFragmentRows + lane / 4;
    Fragment fragment;
    RNNFAST_UNROLL
    for (int tile = 0; tile < 2; ++tile) {
      const int k = (depth_block * 4 + lane % 4) * numbers;
      fragment.set(tile, chunk(row + tile * 16, k), chunk(row + tile * 16 + 8, k));
    }
    return fragment;
  }

  /// Where the fragments that the registers do not hold are: [stored][4][lane].
  __device__ __forceinline__ Chunk* stored() const {
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    return reinterpret_cast<Chunk*>(shared_memory() + warp * plan_.stored * kFragmentBytes) + lane;
  }

  const Plan& plan_;
  int row_warp_, depth_warp_;  // the warp's place
  int count_;                  // depth blocks of the warp
  Fragment kept_[Units::kKept];
};

/// Numbers side by side in a chunk.
template <typename Number>
__device__ __forceinline__ Chunk packed(const Number (&numbers)[kChunkBytes / sizeof(Number)]) {
  Chunk chunk;
  RNNFAST_UNROLL
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(Number) == 2)
      chunk.word[i] = bits_of(numbers[2 * i]) | bits_of(numbers[2 * i + 1]) << 16;
    else
      chunk.word[i] = bits_of(numbers[i]);
  }
  return chunk;
}

}  // namespace rnnfast::cuda
