// The forward sweep in one launch. At every step a block multiplies its weights with h_(t-1) of all units, adds up what
// its warps have of each sum, applies the cell to its own units, and sends their h_t to all blocks of the group.
//
// A sum's parts meet in shared memory instead of staying in the registers that made them: the element-wise part then
// is spread evenly over all threads whatever the shape, and the warps may share the product's depth as well as its
// rows.

#include "cuda/group.h"
#include "cuda/launch.h"
#include "cuda/product.h"
#include "cuda/resident.h"
#include "cuda/resident_launch.h"
#include "cuda/steps.h"

namespace rnnfast::cuda {
namespace {

/// Puts 8 units' h of one batch row into the operand of the next step, in every block of the group. All lanes of a
/// warp.
template <typename Units>
__device__ __forceinline__ void send_states(const Plan& plan, const Group& group, typename Units::Element h, int unit,
                                            int column, int step) {
  constexpr int numbers = kChunkBytes / sizeof(h);
  const int lane = int(threadIdx.x) % 32;
  Chunk chunk;
  uint32_t word = bits_of(h);
  if constexpr (numbers == 8) {
    const uint32_t other = of_neighbour(word, 1);
    word = lane & 1 ? other | word << 16 : word | other << 16;
  }
  constexpr int bit = numbers == 8 ? 2 : 1;
  const uint32_t other = of_neighbour(word, bit);
  const uint32_t low = lane & bit ? other : word, high = lane & bit ? word : other;
  const uint32_t other_low = of_neighbour(low, 2 * bit), other_high = of_neighbour(high, 2 * bit);
  const bool second = lane & 2 * bit;
  chunk.word[0] = second ? other_low : low;
  chunk.word[1] = second ? other_high : high;
  chunk.word[2] = second ? low : other_low;
  chunk.word[3] = second ? high : other_high;

  const unsigned place = unsigned(group.rank * plan.units + unit) / numbers;
  const int at = int((place / 4 * plan.columns + column) * 4 + place % 4);
  const int first = lane % numbers;  // the lanes that have the same chunk send it to different blocks
  if (plan.exchange == Exchange::kGrid) {
    if (first < 2)
      post(group.letters(step, 0) + at * 4 + first * 2, first ? chunk.word[2] : chunk.word[0],
           first ? chunk.word[3] : chunk.word[1], unsigned(step));
    return;
  }
  Chunk* to =
      reinterpret_cast<Chunk*>(shared_memory() + plan.operand) + (step & 1) * (plan.operand_bytes / kChunkBytes) + at;
  if (plan.exchange == Exchange::kBlock) {
    if (first == 0) *to = chunk;
    return;
  }
  RNNFAST_UNROLL_BY(1)
  for (int rank = first; rank < plan.blocks; rank += numbers) send(rank, to, chunk, group.barrier(step));
}

/// letters: of kGrid alone, [groups][2][depth][columns][4 chunks of 4].
template <typename Cell, typename Units>
__global__ void __launch_bounds__(kSweepThreads, 1)
    forward_resident(const __grid_constant__ Forward f, const __grid_constant__ Plan plan, Letter* letters,
                     int first_tile) {
  typedef typename Units::Element Element;
  constexpr int kChunkNumbers = kChunkBytes / sizeof(Element), kPairs = pairs_of<Cell>;
  constexpr Tables<Cell> tables;
  Group group(plan, letters);
  const int thread = int(threadIdx.x);
  int lane = thread % 32;
  const int H = int(f.H);
  const auto first_unit = [&] { return group.rank * plan.units; };
  const auto first_row = [&] { return (first_tile + group.number) * plan.columns; };
  char* const operand = shared_memory() + plan.operand;
  float* const received = reinterpret_cast<float*>(shared_memory() + plan.received);  // [depth warp][column][row]
  float* const biases = reinterpret_cast<float*>(shared_memory() + plan.bias);        // [S][U]

  // 1. What stays: the weights, whose rows are gate by gate the block's units, and the biases.
  const auto* w_hh = static_cast<const Element*>(f.w_hh);
  const bool whole = H % kChunkNumbers == 0 && reinterpret_cast<uintptr_t>(w_hh) % kChunkBytes == 0;
  const Weights<Units> weights(plan, [&](int row, int k) {
    const int gate = row / plan.units, unit = first_unit() + row % plan.units;
    const bool inside = gate < Cell::gates && unit < H;
    const Element* from = w_hh + int64_t(gate * H + unit) * H + k;
    if (whole && inside && k < H) return Units::rounded(*reinterpret_cast<const Chunk*>(from));
    Element numbers[kChunkNumbers];
    RNNFAST_UNROLL
    for (int i = 0; i < kChunkNumbers; ++i) numbers[i] = inside && k + i < H ? from[i] : from_sum<Element>(0.0f);
    return Units::rounded(packed(numbers));
  });
  const auto *b_ih = static_cast<const Element*>(f.b_ih), *b_hh = static_cast<const Element*>(f.b_hh);
  for (int i = thread; i < plan.units; i += kSweepThreads) {
    const int unit = first_unit() + i;
    RNNFAST_UNROLL
    for (int s = 0; s < Cell::sums; ++s) {
      const int x = tables.x_gate[s], h = tables.h_gate[s];
      float bias = 0;
      if (b_ih && x >= 0 && unit < H) bias += to_sum(b_ih[x * H + unit]);
      if (b_hh && h >= 0 && unit < H) bias += to_sum(b_hh[h * H + unit]);
      biases[s * plan.units + i] = bias;
    }
  }

  // 2. The states before the first step, of all units, and zeros past the last one.
  const int operand_chunks = plan.operand_bytes / kChunkBytes;
  for (int i = thread; i < plan.buffers * operand_chunks * kChunkNumbers; i += kSweepThreads) {
    const int chunk = i / kChunkNumbers % operand_chunks, column = chunk / 4 % plan.columns;
    const int unit = (chunk / 4 / plan.columns * 4 + chunk % 4) * kChunkNumbers + i % kChunkNumbers;
    Element h = from_sum<Element>(0.0f);
    if (f.h0 && i < operand_chunks * kChunkNumbers && first_row() + column < f.N && unit < H)
      h = Units::rounded(static_cast<const Element*>(f.h0)[int64_t(first_row() + column) * H + unit]);
    reinterpret_cast<Element*>(operand)[i] = h;
  }
  int steps = 0;
  for (int n = first_row(); n < first_row() + plan.columns && n < f.N; ++n) {
    const int length = int(length_of(f, n));
    steps = length > steps ? length : steps;
  }
  Pairs<kPairs> pairs(plan);
  int length[kPairs];  // 0 for what is no unit or no row
  float h[kPairs], c[kPairs], x[kPairs][Cell::sums];
  RNNFAST_UNROLL
  for (int j = 0; j < kPairs; ++j) {
    const int n = first_row() + pairs.column(j), unit = first_unit() + pairs.unit(j);
    length[j] = pairs.column(j) < plan.columns && n < f.N && unit < H ? int(length_of(f, n)) : 0;
    const int64_t state = int64_t(n) * H + unit;
    h[j] = f.h0 && length[j] ? to_sum(static_cast<const Element*>(f.h0)[state]) : 0;
    c[j] = Cell::has_c && length[j] ? to_sum(static_cast<const Element*>(f.c0)[state]) : 0;
  }
  const auto time_of = [&](int step) {
    const int some = step < steps ? step : steps - 1;
    return f.reverse ? steps - 1 - some : some;
  };
  int next_row = packed_row(f, time_of(0));
  group.open();

  for (int step = 0; step < steps; ++step) {
    pairs.renew();
    group.renew();
    renew(lane);
    // 3. The input's part of the sums; it has the time of the product to get here. The step after finds it in the L2
    // cache: padded vectors stand one step apart, so one knows where. Eight lanes share a sector of each gate's row, so
    // each of them fetches that of one gate.
    const int t = time_of(step);
    const Moment now{t, next_row};
    next_row = packed_row(f, time_of(step + 1));
    const Vectors<const float> projected(f, f.projected, now);
    const int ahead = int(f.reverse ? -f.projected.time_stride : f.projected.time_stride);
    const bool fetches = !f.first_row && lane % kUnitStep < Cell::gates && step + 1 < steps;
    RNNFAST_UNROLL
    for (int j = 0; j < kPairs; ++j) {
      if (t >= length[j]) continue;
      const float* from = projected.at(first_row() + pairs.column(j), first_unit() + pairs.unit(j));
      RNNFAST_UNROLL
      for (int s = 0; s < Cell::sums; ++s)
        if (tables.x_gate[s] >= 0) x[j][s] = from[tables.x_gate[s] * H];
      if (fetches) prefetch(from + int64_t(lane % kUnitStep * H) + ahead);
    }

    // 4. The states of the step before are there. Nobody sends the zeros that make the last depth block a whole one.
    if (step > 0) {
      const int whole = (plan.depth - 1) * plan.columns * 4,
                of_last = plan.step_numbers / kChunkNumbers / plan.columns - (plan.depth - 1) * 4;
      group.wait(step, reinterpret_cast<Chunk*>(operand), [&](int i) { return i < whole || i % 4 < of_last; });
    }

    // 5. W_hh h, a part from each warp.
    const int buffer = step & (plan.buffers - 1);
    weights.multiply(operand + buffer * plan.operand_bytes, [&](int row, const Sums<Units::kColumnTiles>& sums) {
      float* to = received + weights.depth_warp() * plan.columns * plan.sums_stride + row + lane / 4;
      RNNFAST_UNROLL
      for (int column_tile = 0; column_tile < Units::kColumnTiles; ++column_tile) {
        RNNFAST_UNROLL
        for (int i = 0; i < 8; ++i) {
          const int tile = i / 4, lower = i / 2 % 2, column = column_tile * kColumnStep + lane % 4 * 2 + i % 2;
          to[column * plan.sums_stride + tile * 16 + lower * 8] = sums.value[tile][column_tile][i % 4];
        }
      }
    });
    __syncthreads();

    // 6. The cell, one unit of one row after another.
    const Vectors<Element> output(f, f.output, now), reserve(f, f.reserve, now), cells(f, f.cells, now);
    RNNFAST_UNROLL
    for (int j = 0; j < kPairs; ++j) {
      const int column = pairs.column(j), n = first_row() + column, unit = first_unit() + pairs.unit(j);
      if (column >= plan.columns) break;  // the same for the whole warp
      if (t < length[j]) {
        float sums[Cell::sums], saved[kSaved<Cell>];
        const float* from = received + column * plan.sums_stride + pairs.unit(j);
        RNNFAST_UNROLL
        for (int s = 0; s < Cell::sums; ++s) {
          sums[s] = biases[s * plan.units + pairs.unit(j)];
          if (tables.x_gate[s] >= 0) sums[s] += x[j][s];
        }
        RNNFAST_UNROLL_BY(2)
        for (int part = 0; part < plan.depth_warps; ++part, from += plan.columns * plan.sums_stride) {
          RNNFAST_UNROLL
          for (int s = 0; s < Cell::sums; ++s)
            if (tables.h_gate[s] >= 0) sums[s] += from[tables.h_gate[s] * plan.units];
        }
        h[j] = Cell::forward(sums, h[j], c[j], saved);
        const Element made = from_sum<Element>(h[j]);
        *output.at(n, unit) = made;
        if (f.reserve.data) {
          Element* to = reserve.at(n, unit);
          RNNFAST_UNROLL
          for (int k = 0; k < Cell::saved; ++k) to[k * H] = from_sum<Element>(saved[k]);
        }
        if (Cell::has_c && f.cells.data) *cells.at(n, unit) = from_sum<Element>(c[j]);
        if (t == last_step(f, length[j])) {
          static_cast<Element*>(f.h_n)[int64_t(n) * H + unit] = made;
          if (Cell::has_c) static_cast<Element*>(f.c_n)[int64_t(n) * H + unit] = from_sum<Element>(c[j]);
        }
      }
      if (step + 1 < steps)
        send_states<Units>(plan, group, Units::rounded(from_sum<Element>(h[j])), pairs.unit(j), column, step + 1);
    }
  }

  // 7. Zeros past the end of each row.
  RNNFAST_UNROLL
  for (int j = 0; j < kPairs; ++j)
    for (int64_t t = length[j]; !f.first_row && length[j] && t < f.T; ++t) {
      const int n = first_row() + pairs.column(j), unit = first_unit() + pairs.unit(j);
      clear<Element>(f.output, t, n, unit, H, 1);
      clear<Element>(f.reserve, t, n, unit, H, Cell::saved);
      clear<Element>(f.cells, t, n, unit, H, 1);
    }
  group.close();
}

}  // namespace

Plan resident_plan(const Forward& f) {
  const bool small = is_small(f.projected) && is_small(f.output) && is_small(f.reserve);
  return small ? plan_of(f, false) : Plan{};
}

cudaError_t resident_sweep(const Forward& f, const Plan& plan, void* workspace, cudaStream_t stream) {
  return with_cell(f.cell, [&](auto cell) {
    return with_units(f, plan.columns, [&](auto units) {
      return launch_groups(plan, workspace, stream, [&](const Shape& shape, Letter* letters, int tile) {
        return launch(forward_resident<decltype(cell), decltype(units)>, shape, stream, f, plan, letters, tile);
      });
    });
  });
}

}  // namespace rnnfast::cuda
