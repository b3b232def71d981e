// How a sweep is laid over the GPU: a pure function of the layer's shape and the device, on the host, without CUDA.
//
// A group of blocks sweeps some batch rows together through all time steps. Each of its blocks owns some hidden units
// and keeps, for the whole sweep, the rows of W_hh that make their gates: in registers as much as goes, the rest in
// shared memory. Letters as in cuda/sweep.h; further C blocks of a group, U hidden units of a block, B batch rows of a
// group.
//
//   forward    all h_(t-1) come in, a block's own h_t go out to all. The product has G*U rows and is C*U deep.
//   backward   a block's own dz_t meet its weights; of the gradient of h_(t-1) that gives a part for every unit, which
//              goes out to the unit's owner. The product has C*U rows and is G*U deep.
//
// So both keep the same weights, and what is sent is small: h going forward, one sum for each block going backward
// (sending all dz instead would be G times as much, and would not fit beside the weights).
#pragma once

#include <cstdint>

namespace rnnfast::cuda {

/// By which way the blocks of a group talk.
enum class Exchange {
  kBlock,    // it is one block
  kCluster,  // by each other's shared memory
  kGrid,     // by device memory, which is the L2 cache: as many blocks as there are multiprocessors
};

constexpr int kSweepThreads = 384;
constexpr int kSweepWarps = kSweepThreads / 32;
constexpr int kLargestCluster = 16;

// A lane's part of the product is made of chunks of 16 bytes: consecutive numbers along the product's depth. Four of
// them, of the four lanes that share rows, are a depth block. A fragment is the weights of 32 rows by one depth block.
constexpr int kChunkBytes = 16;
constexpr int kDepthBytes = 64;
constexpr int kFragmentRows = 32;
constexpr int kFragmentBytes = kFragmentRows * kDepthBytes;
constexpr int kLetterBytes = 8;  // of a word that goes by device memory
constexpr int kUnitStep = 8;     // hidden units of a block are a multiple of it
constexpr int kColumnStep = 8;   // and batch rows of a group

struct Gpu {
  int multiprocessors;
  int capability;                     // 90 for 9.0
  int shared_bytes;                   // that one block may have
  int clusters[kLargestCluster + 1];  // of so many blocks, how many are there at once; 0: none
};

/// One direction of one layer, as far as planning it goes.
struct Problem {
  bool backward;
  int gates, sums;    // of the cell
  int pairs;          // a unit of a batch row each, that one thread may have
  int number_bytes;   // of what is multiplied
  int column_tiles;   // B is 8 or, with 2, also 16
  int kept[2];        // fragments that a warp may keep in registers, for a B of 8 and of 16
  bool matrix_units;  // or scalar FMAs
  int64_t N, H;
};

struct Plan {
  Exchange exchange;
  int blocks, units, columns;  // C, U, B
  int tiles;                   // groups that the batch makes
  int groups;                  // that one launch holds
  int row_groups, depth;       // of the product, in fragments
  int row_warps, depth_warps;  // how the warps share the product
  int rounds;                  // row groups of 32 that a warp goes through
  int depth_each;              // depth blocks of a warp
  int stored;                  // fragments of a warp that are in shared memory
  int sums_stride;             // forward: of the sums of two batch rows
  unsigned owner_factor;       // owner of units 8 i..8 i + 7 = i * owner_factor >> 16
  int operand_bytes;           // of one step
  int step_numbers;            // that a block gets from its group for each step
  int step_bytes;
  int buffers;         // of what it gets, in shared memory
  int inbox, inboxes;  // kGrid: words of one, and how many a group has for each step
  // Where things begin in shared memory.
  int operand, received, bias, barriers, shared_bytes;
  int shared_limit;  // of the device
  double clocks;     // of the whole sweep's time steps, estimated

  bool exists() const { return blocks > 0; }
};

constexpr int64_t rounded_up(int64_t size, int64_t step) { return (size + step - 1) / step * step; }
constexpr int64_t parts_of(int64_t size, int64_t part) { return (size + part - 1) / part; }

// Clocks of an H100, from its datasheet and from what others published; not measured here.
constexpr double kMatrixClocks = 6.4;    // of a fragment of 32 rows by 8 columns: four mma.sync m16n8k16, of two halves
constexpr double kFmaPerClock = 128;     // of one multiprocessor, fp32
constexpr double kSharedPerClock = 128;  // bytes
constexpr double kBlockStep = 100;       // barriers of a time step
constexpr double kElements = 100;        // of the element-wise part, by the number of its instructions,
constexpr double kElementSums = 75;      // and for each sum of the cell
constexpr double kClusterStep = 700;     // what is sent to other blocks of a cluster takes so long to arrive
constexpr double kClusterBlock = 12;     // and longer for each block
constexpr double kGridStep = 1500;       // by way of the L2 cache, without
constexpr double kGridPerClock = 24;     // reading, of which each multiprocessor does so many bytes where all do
constexpr double kLaunches = 9000;       // two launches that wait for each other
constexpr double kLibraryShare = 0.7;    // of the FMA peak that a library's product reaches
constexpr int kLibraryRows = 32;         // of a tile of it at least

/// How many rows and how much depth, in depth blocks, the product of a step has.
struct ProductSize {
  int64_t row_groups, depth;

  ProductSize(const Problem& p, int blocks, int units) {
    const int64_t own = int64_t(p.gates) * units, all = int64_t(blocks) * units;
    row_groups = parts_of(p.backward ? all : own, kFragmentRows);
    depth = parts_of((p.backward ? own : all) * p.number_bytes, kDepthBytes);
  }
};

/// Shares the product out to the warps: the rows, and going forward also the depth, so that the slowest has least to
/// do; of equals that with the longest depth of a warp, which has most in registers and fewest parts of a sum to add
/// up.
inline void share_product(Plan& plan, const Problem& p) {
  int64_t least = INT64_MAX;
  for (int row_warps = 1; row_warps <= kSweepWarps && row_warps <= plan.row_groups; ++row_warps) {
    const int most = kSweepWarps / row_warps, depth_warps = p.backward ? 1 : most < plan.depth ? most : plan.depth;
    const int64_t fragments = parts_of(plan.row_groups, row_warps) * parts_of(plan.depth, depth_warps);
    if (fragments > least) continue;
    least = fragments;
    plan.row_warps = row_warps;
    plan.depth_warps = depth_warps;
  }
  plan.rounds = int(parts_of(plan.row_groups, plan.row_warps));
  plan.depth_each = int(parts_of(plan.depth, plan.depth_warps));
  const int kept = p.kept[plan.columns / kColumnStep - 1];
  plan.stored = plan.rounds * plan.depth_each - (plan.depth_each < kept ? plan.depth_each : kept);
  plan.sums_stride = plan.row_groups * kFragmentRows + 4;
}

/// Says what a block gets for each step, and where all of it stands in shared memory. Returns whether it fits there.
inline bool place_in_shared_memory(Plan& plan, const Problem& p, const Gpu& gpu, int blocks) {
  const int64_t all = int64_t(blocks) * plan.units;
  plan.operand_bytes = plan.depth * plan.columns * kDepthBytes;
  plan.step_numbers = int(all) * plan.columns;
  plan.step_bytes = plan.step_numbers * (p.backward ? int(sizeof(float)) : p.number_bytes);
  // Where a barrier of the block stands between what arrives and its use, nothing is read when the next arrives.
  plan.buffers = plan.exchange == Exchange::kGrid ? 1 : 2;
  plan.inboxes = p.backward ? blocks : 1;
  plan.inbox = p.backward ? plan.step_numbers : plan.operand_bytes / int(sizeof(float));
  const int64_t received =
      p.backward ? plan.buffers * all * plan.columns : int64_t(plan.depth_warps) * plan.columns * plan.sums_stride;
  int64_t end = int64_t(kSweepWarps) * plan.stored * kFragmentBytes;
  const auto take = [&](int64_t bytes) {
    const int64_t begin = end;
    end += rounded_up(bytes, 128);
    return int(begin);
  };
  if (end + plan.buffers * int64_t(plan.operand_bytes) + received * 4 > gpu.shared_bytes) return false;
  plan.operand = take(plan.buffers * int64_t(plan.operand_bytes));
  plan.received = take(received * 4);
  plan.bias = take(p.backward ? 0 : int64_t(p.sums) * plan.units * 4);
  plan.barriers = take(16);
  plan.shared_bytes = int(end);
  plan.shared_limit = gpu.shared_bytes;
  return end <= gpu.shared_bytes;
}

/// The clocks of one time step of one group.
inline double clocks_of_step(const Plan& plan, const Problem& p, int blocks) {
  const double fragments = double(plan.row_groups) * plan.depth, column_tiles = plan.columns / kColumnStep;
  const double arithmetic = p.matrix_units ? fragments * column_tiles * kMatrixClocks
                                           : fragments * kFragmentBytes / 4 * plan.columns / kFmaPerClock;
  const double busy = double(plan.row_warps * plan.depth_warps) / kSweepWarps;
  const double bytes =
      double(kSweepWarps) * busy *
      (double(plan.stored) * kFragmentBytes + double(plan.rounds) * plan.depth_each * column_tiles * 512);
  double clocks = arithmetic / busy;
  if (bytes / kSharedPerClock > clocks) clocks = bytes / kSharedPerClock;
  // The element-wise part keeps the schedulers busy, four warps at a time.
  const int64_t elements = int64_t(plan.units) * plan.columns;
  clocks += kBlockStep + (kElements + kElementSums * p.sums) * double(parts_of(elements, 4 * 32));
  if (plan.exchange == Exchange::kCluster) clocks += kClusterStep + kClusterBlock * blocks;
  if (plan.exchange == Exchange::kGrid) clocks += kGridStep + plan.inbox * double(kLetterBytes) / kGridPerClock;
  return clocks;
}

/// The plan for C blocks and B batch rows, or one that does not exist if they do not fit.
inline Plan plan_for(const Problem& p, const Gpu& gpu, Exchange exchange, int blocks, int columns) {
  const int units = int(rounded_up(parts_of(p.H, blocks), kUnitStep));
  if (blocks > 1 && int64_t(units) * (blocks - 1) >= p.H) return {};  // fewer blocks do the same
  if (int64_t(units) * columns > int64_t(p.pairs) * kSweepThreads) return {};
  if (p.backward && int64_t(blocks) * units / kUnitStep * (units / kUnitStep) >= 65536) return {};  // owner_factor

  const ProductSize product(p, blocks, units);
  Plan plan = {};
  plan.exchange = exchange;
  plan.units = units;
  plan.columns = columns;
  plan.tiles = int(parts_of(p.N, columns));
  plan.row_groups = int(product.row_groups);
  plan.depth = int(product.depth);
  plan.owner_factor = unsigned(parts_of(65536, units / kUnitStep));
  share_product(plan, p);
  if (!place_in_shared_memory(plan, p, gpu, blocks)) return {};

  const int at_once = exchange == Exchange::kCluster ? gpu.clusters[blocks] : gpu.multiprocessors / blocks;
  if (at_once == 0) return {};
  plan.groups = exchange == Exchange::kGrid && at_once < plan.tiles ? at_once : plan.tiles;
  plan.clocks = clocks_of_step(plan, p, blocks) * double(parts_of(plan.tiles, at_once));
  plan.blocks = blocks;
  return plan;
}

/// The same for stepwise.h: a product by a library for each step, whose weights come from the L2 cache, and a launch.
inline double clocks_stepwise(const Problem& p, const Gpu& gpu) {
  const double weights = double(p.gates) * p.H * p.H, multiprocessors = gpu.multiprocessors;
  const double bytes = weights * p.number_bytes / (kGridPerClock * multiprocessors);
  const double arithmetic = weights * double(rounded_up(p.N, kLibraryRows)) / (kFmaPerClock * multiprocessors);
  return kLaunches + (p.matrix_units || arithmetic / kLibraryShare < bytes ? bytes : arithmetic / kLibraryShare);
}

/// The plan that is estimated to be fastest, or one that does not exist where nothing holds the weights or stepwise.h
/// is faster.
inline Plan plan_for(const Problem& p, const Gpu& gpu) {
  Plan best = {};
  if (gpu.capability < 80) return best;
  const auto consider = [&](Exchange exchange, int blocks, int columns) {
    const Plan plan = plan_for(p, gpu, exchange, blocks, columns);
    if (plan.exists() && (!best.exists() || plan.clocks < best.clocks)) best = plan;
  };
  for (int columns = kColumnStep; columns <= kColumnStep * p.column_tiles; columns *= 2) {
    consider(Exchange::kBlock, 1, columns);
    for (int blocks = 2; blocks <= kLargestCluster; ++blocks) consider(Exchange::kCluster, blocks, columns);
    for (int blocks = 2; blocks <= gpu.multiprocessors; ++blocks) consider(Exchange::kGrid, blocks, columns);
  }
  return best.exists() && best.clocks <= clocks_stepwise(p, gpu) ? best : Plan{};
}

}  // namespace rnnfast::cuda
