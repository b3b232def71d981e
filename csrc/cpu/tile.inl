// Register-blocked matrix tiles over packed panels: the one place where multiplications happen.
//
// A panel holds kTileVectors vectors of columns, row by row: [depth][kPanel]. A tile is M rows by P panels whose sums
// stay in registers over the whole depth. Rows are pointers, so that they may come from anywhere: no gathering, no
// copies.

template <typename Real>
constexpr int kPanel = kTileVectors * kLanes<Real>;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename Real>
constexpr int64_t panels(int64_t columns) {
  return divide_up(columns, kPanel<Real>);
}

/// Panels that a tile of M rows takes together: a few rows alone have too few sums to hide the latency of an FMA.
template <int M>
constexpr int kPanelsTogether = M * kTileVectors >= 6       ? 1
                                : M * kTileVectors * 2 >= 6 ? 2
                                                            : 4;

/// sums[m][v] += rows[m][k * step] * panel[k][v] for k < depth.
template <int M, int P, int step, typename Real>
RNNFAST_INLINE void multiply(const Real* const* rows, const Real* panel, int64_t panel_stride, int64_t depth,
                             Vec<Real> (&sums)[M][P * kTileVectors]) {
  const Real* row[M];
  RNNFAST_UNROLL
  for (int m = 0; m < M; ++m) row[m] = rows[m];
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    Vec<Real> columns[P * kTileVectors];
    RNNFAST_UNROLL
    for (int p = 0; p < P; ++p) {
      RNNFAST_UNROLL
      for (int v = 0; v < kTileVectors; ++v)
        columns[p * kTileVectors + v] = load(panel + p * panel_stride + k * kPanel<Real> + v * kLanes<Real>);
    }
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) {
      RNNFAST_UNROLL
      for (int v = 0; v < P * kTileVectors; ++v) sums[m][v] += row[m][k * step] * columns[v];
    }
  }
}

/// Products that are summed in registers before their sum goes to the total. Rounding errors grow with the length of a
/// chain of additions, so short chains are what keeps float32 as exact as the best libraries; the price is one addition
/// to memory per chain.
constexpr int64_t kChain = 64;

/// The sums of a tile, in memory, to which products are added chain by chain.
template <int M, int P, typename Real>
struct Totals {
  alignas(64) Real at[M][P * kPanel<Real>];

  RNNFAST_INLINE void clear() {
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) {
      RNNFAST_UNROLL
      for (int v = 0; v < P * kTileVectors; ++v) store(at[m] + v * kLanes<Real>, Vec<Real>{});
    }
  }

  /// Begins every row with the same values, of which each panel's stand `panel_stride` behind those of the one before.
  RNNFAST_INLINE void fill(const Real* values, int64_t panel_stride) {
    RNNFAST_UNROLL
    for (int p = 0; p < P; ++p) {
      RNNFAST_UNROLL
      for (int v = 0; v < kTileVectors; ++v) {
        const Vec<Real> value = load(values + p * panel_stride + v * kLanes<Real>);
        RNNFAST_UNROLL
        for (int m = 0; m < M; ++m) store(at[m] + (p * kTileVectors + v) * kLanes<Real>, value);
      }
    }
  }

  /// at[m][column] += rows[m][k * step] * panel[k][column] for k < depth.
  template <int step>
  __attribute__((noinline)) void add(const Real* const* rows, const Real* panel, int64_t panel_stride, int64_t depth) {
    const Real* from[M];
    for (int64_t first = 0; first < depth; first += kChain) {
      RNNFAST_UNROLL
      for (int m = 0; m < M; ++m) from[m] = rows[m] + first * step;
      Vec<Real> sums[M][P * kTileVectors] = {};
      // A whole chain has a constant length, which the compiler unrolls without a remainder.
      if (depth - first >= kChain)
        multiply<M, P, step>(from, panel + first * kPanel<Real>, panel_stride, kChain, sums);
      else
        multiply<M, P, step>(from, panel + first * kPanel<Real>, panel_stride, depth - first, sums);
      RNNFAST_UNROLL
      for (int m = 0; m < M; ++m) {
        RNNFAST_UNROLL
        for (int v = 0; v < P * kTileVectors; ++v) {
          Real* to = at[m] + v * kLanes<Real>;
          store(to, load(to) + sums[m][v]);
        }
      }
    }
  }
};

/// Calls tile(rows, panel, columns of M, P) over all rows and panels. `tile` is a type with
/// template <int M, int P> void run(int64_t first_row, int64_t first_panel) const.
/// Panels are the outer loop: a panel stays in the L1 cache while all rows go by.
template <int M, typename Tile>
void run_tiles(const Tile& tile, int64_t first_row, int64_t blocks, int64_t panel_count) {
  constexpr int P = kPanelsTogether<M>;
  int64_t panel = 0;
  for (; panel + P <= panel_count; panel += P)
    for (int64_t block = 0; block < blocks; ++block) tile.template run<M, P>(first_row + block * M, panel);
  if constexpr (P > 1)
    for (; panel < panel_count; ++panel)
      for (int64_t block = 0; block < blocks; ++block) tile.template run<M, 1>(first_row + block * M, panel);
}

/// The same for a height known only at run time, 1 to kTileRows.
template <int M = kTileRows, typename Tile>
void run_tiles_of(int64_t height, const Tile& tile, int64_t first_row, int64_t blocks, int64_t panel_count) {
  if constexpr (M > 1)
    if (height < M) return run_tiles_of<M - 1>(height, tile, first_row, blocks, panel_count);
  if (blocks > 0) run_tiles<M>(tile, first_row, blocks, panel_count);
}

/// All rows [first_row, first_row + rows), in tiles whose heights differ by one at most: 64 rows are nine sixes and two
/// fives rather than ten sixes and a four.
template <typename Tile>
void cover(const Tile& tile, int64_t first_row, int64_t rows, int64_t panel_count) {
  if (rows <= 0) return;
  const int64_t blocks = divide_up(rows, kTileRows), height = rows / blocks, higher = rows % blocks;
  run_tiles_of(height + 1, tile, first_row, higher, panel_count);
  run_tiles_of(height, tile, first_row + higher * (height + 1), blocks - higher, panel_count);
}
