// The backward sweep in one launch. At every step a block adds up what all blocks sent it of the gradient of its own
// units' h_t, applies the cell's derivatives, writes dz_t, and multiplies it with its weights: that gives a part of the
// gradient of h_(t-1) of every unit, which goes to the unit's owner straight from the registers.
//
// The gradients of c, and what reaches h_(t-1) past the matrix, stay in registers in single precision. The parts are
// added in the order of the blocks, so the result is the same bit for bit every time.

#include "cuda/group.h"
#include "cuda/launch.h"
#include "cuda/product.h"
#include "cuda/resident.h"
#include "cuda/resident_launch.h"
#include "cuda/steps.h"

namespace rnnfast::cuda {
namespace {

/// What the cell needs of one step, loaded a step ahead and still in the layer's own type.
template <typename Cell, typename Element>
struct Loaded {
  Element grad_output, c_before, saved[kSaved<Cell>];
  Element h;  // of the step before where the cell mixes it in, else of this step
};

/// letters: of kGrid alone, [groups][2][owner][block][unit][column].
template <typename Cell, typename Units>
__global__ void __launch_bounds__(kSweepThreads, 1)
    backward_resident(const __grid_constant__ Backward b, const __grid_constant__ Plan plan, Letter* letters,
                      int first_tile) {
  typedef typename Units::Element Element;
  constexpr int kChunkNumbers = kChunkBytes / sizeof(Element), kPairs = pairs_of<Cell>;
  constexpr Tables<Cell> tables;
  Group group(plan, letters);
  const int thread = int(threadIdx.x);
  int lane = thread % 32;
  const int H = int(b.H);
  const auto first_unit = [&] { return group.rank * plan.units; };
  const auto first_row = [&] { return (first_tile + group.number) * plan.columns; };
  // Of both there are one or two. In a cluster a warp may still multiply when others are a step on.
  char* const operands = shared_memory() + plan.operand;
  float* const received = reinterpret_cast<float*>(shared_memory() + plan.received);  // [block][unit][column]

  // 1. The weights: a row for every unit of the layer, along the depth the block's own units, slot by slot.
  const auto* w_hh = static_cast<const Element*>(b.w_hh);
  const Weights<Units> weights(plan, [&](int row, int k) {
    // A chunk's units are of one slot.
    const int slot = k / plan.units, unit = first_unit() + k % plan.units;
    int gate = 0;
    RNNFAST_UNROLL
    for (int g = 0; g < Cell::gates; ++g)
      if (g == slot) gate = tables.h_order[g];
    const Element* from = w_hh + int64_t(gate * H + unit) * H + row;
    Element numbers[kChunkNumbers];
    RNNFAST_UNROLL
    for (int i = 0; i < kChunkNumbers; ++i)
      numbers[i] = row < H && slot < Cell::gates && unit + i < H ? from[int64_t(i) * H] : from_sum<Element>(0.0f);
    return Units::rounded(packed(numbers));
  });

  // 2. Zeros where no dz will be: the operand's rounding up to whole depth blocks.
  for (int i = thread; i < plan.buffers * plan.operand_bytes / kChunkBytes; i += kSweepThreads)
    reinterpret_cast<Chunk*>(operands)[i] = Chunk{};
  int steps = 0;
  for (int n = first_row(); n < first_row() + plan.columns && n < b.N; ++n) {
    const int length = int(length_of(b, n));
    steps = length > steps ? length : steps;
  }
  Pairs<kPairs> pairs(plan);
  int length[kPairs];  // 0 for what is no unit or no row
  float mix[kPairs], dc[kPairs];
  RNNFAST_UNROLL
  for (int j = 0; j < kPairs; ++j) {
    const int n = first_row() + pairs.column(j);
    length[j] =
        pairs.column(j) < plan.columns && n < b.N && first_unit() + pairs.unit(j) < H ? int(length_of(b, n)) : 0;
    mix[j] = dc[j] = 0;
  }
  const auto time_of = [&](int step) {
    const int some = step < steps ? step : steps - 1;
    return b.reverse ? some : steps - 1 - some;
  };
  int next_row = packed_row(b, time_of(0)), after_row = packed_row(b, time_of(1));
  group.open();

  for (int step = 0; step <= steps; ++step) {
    pairs.renew();
    renew(lane);
    group.renew();
    // 3. What the cell needs beside them is on its way while the parts of the gradient of h_t arrive.
    const int t = time_of(step);
    const Moment now{t, next_row};
    next_row = after_row;
    after_row = packed_row(b, time_of(step + 2));
    Loaded<Cell, Element> loaded[kPairs];
    if (step < steps) {
      // The next step of this sweep is the one before in the order of the layer.
      const Moment next{time_of(step + 1), next_row};
      const Vectors<const Element> grad_output(b, b.grad_output, now), reserve(b, b.reserve, now),
          hidden(b, b.output, Cell::mixes_h ? next : now), reserve_before(b, b.reserve, next);
      RNNFAST_UNROLL
      for (int j = 0; j < kPairs; ++j) {
        if (t >= length[j]) continue;
        const int n = first_row() + pairs.column(j), unit = first_unit() + pairs.unit(j);
        const bool begins = t == first_step(b, length[j]);
        Loaded<Cell, Element>& to = loaded[j];
        if (b.grad_output.data) to.grad_output = *grad_output.at(n, unit);
        if (Cell::saved > 0) {
          const Element* from = reserve.at(n, unit);
          RNNFAST_UNROLL
          for (int k = 0; k < Cell::saved; ++k) to.saved[k] = from[k * H];
        }
        if (!Cell::mixes_h) {
          if (Cell::saved == 0) to.h = *hidden.at(n, unit);
        } else if (!begins) {
          to.h = *hidden.at(n, unit);
        } else {
          to.h = b.h0 ? static_cast<const Element*>(b.h0)[int64_t(n) * H + unit] : from_sum<Element>(0.0f);
        }
        if (Cell::has_c)  // the last of what is saved
          to.c_before = begins ? static_cast<const Element*>(b.c0)[int64_t(n) * H + unit]
                               : reserve_before.at(n, unit)[(Cell::saved - 1) * H];
      }
    }
    if (step > 0) group.wait(step, reinterpret_cast<Chunk*>(received), [](int) { return true; });

    // 4. The cell backward, one unit of one row after another.
    const auto buffer = [&](int of_step) { return of_step & (plan.buffers - 1); };
    char* const operand = operands + buffer(step) * plan.operand_bytes;
    const Vectors<Element> gradients(b, b.dz, now);
    RNNFAST_UNROLL
    for (int j = 0; j < kPairs; ++j) {
      const int column = pairs.column(j), n = first_row() + column, unit = first_unit() + pairs.unit(j);
      if (column >= plan.columns) break;  // the same for the whole warp
      float dh = mix[j];
      if (step > 0) {
        const int at = pairs.unit(j) * plan.columns + column, stride = plan.units * plan.columns;
        const float* from = received + buffer(step) * plan.step_numbers + at;
        for (int block = 0; block < plan.blocks; ++block) dh += from[block * stride];
      }
      if (length[j] && step == (b.reverse ? length[j] : steps)) {
        static_cast<Element*>(b.grad_h0)[int64_t(n) * H + unit] = from_sum<Element>(dh);
        if (Cell::has_c) static_cast<Element*>(b.grad_c0)[int64_t(n) * H + unit] = from_sum<Element>(dc[j]);
      }
      if (step == steps) continue;

      float dz[Cell::slots] = {};
      if (t < length[j]) {
        const Loaded<Cell, Element>& from = loaded[j];
        if (t == last_step(b, length[j])) {
          const int64_t state = int64_t(n) * H + unit;
          dh = b.grad_h_n ? to_sum(static_cast<const Element*>(b.grad_h_n)[state]) : 0;
          if (Cell::has_c && b.grad_c_n) dc[j] = to_sum(static_cast<const Element*>(b.grad_c_n)[state]);
        }
        if (b.grad_output.data) dh += to_sum(from.grad_output);
        float saved[kSaved<Cell>];
        RNNFAST_UNROLL
        for (int k = 0; k < Cell::saved; ++k) saved[k] = to_sum(from.saved[k]);
        const float h = to_sum(from.h), c_before = Cell::has_c ? to_sum(from.c_before) : 0;
        Cell::backward(dh, mix[j], dc[j], h, h, c_before, saved, dz);
        Element* to = gradients.at(n, unit);
        RNNFAST_UNROLL
        for (int s = 0; s < Cell::slots; ++s) to[s * H] = from_sum<Element>(dz[s]);
      }
      RNNFAST_UNROLL
      for (int g = 0; g < Cell::gates; ++g) {
        const unsigned k = unsigned(g * plan.units + pairs.unit(j)), place = k / kChunkNumbers;
        Element* to = reinterpret_cast<Element*>(operand) +
                      ((place / 4 * plan.columns + column) * 4 + place % 4) * kChunkNumbers + k % kChunkNumbers;
        *to = Units::rounded(from_sum<Element>(dz[Cell::h_slot + g]));
      }
    }
    if (step == steps) break;
    __syncthreads();

    // 5. The parts of the gradient of h_(t-1), each to its owner.
    const int next = step + 1;
    weights.multiply(operand, [&](int row, const Sums<Units::kColumnTiles>& sums) {
      RNNFAST_UNROLL
      for (int eight = 0; eight < 4; ++eight) {
        const unsigned first = unsigned(row / kUnitStep + eight), owner = first * plan.owner_factor >> 16;
        if (int(owner) >= plan.blocks) continue;
        const int unit = (int(first) - int(owner) * (plan.units / kUnitStep)) * kUnitStep + lane / 4;
        const int at = (group.rank * plan.units + unit) * plan.columns + lane % 4 * 2;
        RNNFAST_UNROLL
        for (int column_tile = 0; column_tile < Units::kColumnTiles; ++column_tile) {
          const float x = sums.value[eight / 2][column_tile][eight % 2 * 2];
          const float y = sums.value[eight / 2][column_tile][eight % 2 * 2 + 1];
          const int place = at + column_tile * kColumnStep;
          float* const to = received + buffer(next) * plan.step_numbers + place;
          if (plan.exchange == Exchange::kGrid) {
            post(group.letters(next, int(owner)) + place, bits_of(x), bits_of(y), unsigned(next));
          } else if (plan.exchange == Exchange::kCluster) {
            send(int(owner), to, x, y, group.barrier(next));
          } else {
            to[0] = x;
            to[1] = y;
          }
        }
      }
    });
  }

  // 6. Zeros past the end of each row.
  RNNFAST_UNROLL
  for (int j = 0; j < kPairs; ++j)
    for (int64_t t = length[j]; !b.first_row && length[j] && t < b.T; ++t)
      clear<Element>(b.dz, t, first_row() + pairs.column(j), first_unit() + pairs.unit(j), H, Cell::slots);
  group.close();
}

}  // namespace

Plan resident_plan(const Backward& b) {
  const bool small = is_small(b.output) && is_small(b.reserve) && is_small(b.grad_output) && is_small(b.dz);
  return small ? plan_of(b, true) : Plan{};
}

cudaError_t resident_sweep(const Backward& b, const Plan& plan, void* workspace, cudaStream_t stream) {
  return with_cell(b.cell, [&](auto cell) {
    return with_units(b, plan.columns, [&](auto units) {
      return launch_groups(plan, workspace, stream, [&](const Shape& shape, Letter* letters, int tile) {
        return launch(backward_resident<decltype(cell), decltype(units)>, shape, stream, b, plan, letters, tile);
      });
    });
  });
}

}  // namespace rnnfast::cuda
