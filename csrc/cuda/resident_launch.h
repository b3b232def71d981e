// What both directions of the fast path share on the host: the device and the layer as plan.h takes them, and launches.
#pragma once

#include "cuda/launch.h"
#include "cuda/product.h"
#include "cuda/resident.h"

namespace rnnfast::cuda {

/// Units of a batch row that one thread may have: their sums wait in registers.
template <typename Cell>
inline constexpr int pairs_of = Cell::sums > 1 ? 2 : 3;

/// The current device.
cudaError_t find_gpu(Gpu&);

/// each(units) for what multiplies.
template <typename Each>
auto with_units(const Layer& layer, int columns, const Each& each) {
  const bool wide = columns > kColumnStep;
  if (layer.type == Type::kFloat16) return wide ? each(MatrixUnits<Half, 2>{}) : each(MatrixUnits<Half, 1>{});
  if (layer.type == Type::kBFloat16) return wide ? each(MatrixUnits<BFloat16, 2>{}) : each(MatrixUnits<BFloat16, 1>{});
  if (layer.tf32) return wide ? each(MatrixUnits<float, 2>{}) : each(MatrixUnits<float, 1>{});
  return each(ScalarUnits{});
}

/// Whether sizes and strides fit into the kernels' 32 bits.
inline bool is_small(int64_t number) { return number <= INT32_MAX; }
template <typename Void>
bool is_small(const Sequence<Void>& sequence) {
  return is_small(sequence.row_stride) && is_small(sequence.time_stride);
}

/// The plan for a layer whose sequences are small.
inline Plan plan_of(const Layer& layer, bool backward) {
  Gpu gpu;
  if (layer.type == Type::kFloat64 || !is_small(layer.T * layer.N) || !is_small(layer.H * 5)) return {};
  if (find_gpu(gpu) != cudaSuccess) {
    cudaGetLastError();  // or the next launch would be blamed for it
    return {};
  }
  Problem problem = {};
  problem.backward = backward;
  problem.N = layer.N;
  problem.H = layer.H;
  with_cell(layer.cell, [&](auto cell) {
    typedef decltype(cell) Cell;
    problem.gates = Cell::gates;
    problem.sums = Cell::sums;
    problem.pairs = pairs_of<Cell>;
    return cudaSuccess;
  });
  for (int tiles = 1; tiles <= 2; ++tiles)
    with_units(layer, tiles * kColumnStep, [&](auto units) {
      typedef decltype(units) Units;
      problem.number_bytes = sizeof(typename Units::Element);
      problem.column_tiles = Units::kColumnTiles;
      problem.kept[tiles - 1] = Units::kKept;
      problem.matrix_units = !Units::kScalar;
      return cudaSuccess;
    });
  return plan_for(problem, gpu);
}

/// launch_one(shape, letters, first tile) until all batch rows are swept.
template <typename LaunchOne>
cudaError_t launch_groups(const Plan& plan, void* workspace, cudaStream_t stream, const LaunchOne& launch_one) {
  const bool grid = plan.exchange == Exchange::kGrid;
  for (int tile = 0; tile < plan.tiles; tile += plan.groups) {
    const int groups = plan.tiles - tile < plan.groups ? plan.tiles - tile : plan.groups;
    cudaError_t error = cudaSuccess;
    // Letters are of no step at first.
    if (grid) error = cudaMemsetAsync(workspace, 0, resident_workspace(plan), stream);
    if (error != cudaSuccess) return error;
    Shape shape{dim3(unsigned(groups * plan.blocks)), dim3(kSweepThreads), size_t(plan.shared_bytes),
                size_t(plan.shared_limit)};
    shape.cluster = plan.exchange == Exchange::kCluster ? plan.blocks : 1;
    shape.cooperative = grid;
    error = launch_one(shape, static_cast<Letter*>(workspace), tile);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace rnnfast::cuda
