// Register-blocked matrix tiles over packed panels: the one place where multiplications happen.
//
// A matrix is packed as panels of columns, row by row: [depth][width]. A panel is kTileVectors vectors wide; the last
// one may be half of that, or one vector. A tile is M rows by P panels of V vectors whose sums stay in registers. Rows
// are pointers, so that they may come from anywhere: no gathering, no copies.

template <typename Real>
constexpr int kPanel = kTileVectors * kLanes<Real>;

constexpr int kHalfPanelVectors = kTileVectors > 1 ? kTileVectors / 2 : 1;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The width of a panel of which so many columns are left, at least one.
template <typename Real>
int64_t panel_width(int64_t columns) {
  if (columns > kHalfPanelVectors * kLanes<Real>) return kPanel<Real>;
  return columns > kLanes<Real> ? kHalfPanelVectors * kLanes<Real> : kLanes<Real>;
}

/// Columns, and those that fill the last panel.
template <typename Real>
int64_t padded(int64_t columns) {
  const int64_t rest = columns % kPanel<Real>;
  return rest ? columns - rest + panel_width<Real>(rest) : columns;
}

/// Panels that a tile of M rows takes together: a few rows alone have too few sums to hide the latency of an FMA.
template <int M>
constexpr int kPanelsTogether = M * kTileVectors >= 6       ? 1
                                : M * kTileVectors * 2 >= 6 ? 2
                                                            : 4;

/// sums[m][v] += rows[m][k * step] * panel[k][v] for first <= k < first + depth; `panel` begins at k = first.
template <int M, int P, int V, int step, typename Real>
RNNFAST_INLINE void multiply(const Real* const* rows, int64_t first, const Real* panel, int64_t panel_stride,
                             int64_t depth, Vec<Real> (&sums)[M][P * V]) {
  const Real* row[M];
  RNNFAST_UNROLL
  for (int m = 0; m < M; ++m) row[m] = rows[m] + first * step;
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    Vec<Real> columns[P * V];
    RNNFAST_UNROLL
    for (int p = 0; p < P; ++p) {
      RNNFAST_UNROLL
      for (int v = 0; v < V; ++v) columns[p * V + v] = load(panel + p * panel_stride + (k * V + v) * kLanes<Real>);
    }
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) {
      RNNFAST_UNROLL
      for (int v = 0; v < P * V; ++v) sums[m][v] += row[m][k * step] * columns[v];
    }
  }
}

/// Products that are summed in registers before their sum goes to the total. Rounding errors grow with the length of a
/// chain of additions, so short chains are what keeps float32 as exact as the best libraries; the price is one addition
/// to memory per chain.
constexpr int64_t kChain = 64;

/// Where a product begins that adds to nothing.
template <typename Real>
alignas(64) constexpr Real kZeros[kPanel<Real>] = {};

/// The sums of a tile, in memory, to which products are added chain by chain.
template <int M, int P, int V, typename Real>
struct Totals {
  static constexpr int64_t width = P * V * kLanes<Real>;
  alignas(64) Real at[M][width];

  /// at[m][column] = begin[column] + the sum of rows[m][k] * panel[k][column] over k < depth, which is at least 1. What
  /// belongs to the tile's second panel stands one stride behind.
  void set(const Real* begin, int64_t begin_stride, const Real* const* rows, int64_t depth, const Real* panel,
           int64_t panel_stride) {
    chain<1, true>(begin, begin_stride, rows, 0, least(kChain, depth), panel, panel_stride);
    add<1>(rows, kChain, depth, panel + kChain * V * kLanes<Real>, panel_stride);
  }

  /// at[m][column] = the sum of rows[m][k] * panel[k][column] over k < depth; zero if `rows` is null.
  void product(const Real* const* rows, int64_t depth, const Real* panel) {
    if (rows)
      set(kZeros<Real>, 0, rows, depth, panel, depth * kPanel<Real>);
    else
      __builtin_memset(at, 0, sizeof at);
  }

  /// at[m][column] += the sum of rows[m][k * step] * panel[k - first][column] over first <= k < depth.
  template <int step>
  void add(const Real* const* rows, int64_t first, int64_t depth, const Real* panel, int64_t panel_stride) {
    for (; first < depth; first += kChain, panel += kChain * V * kLanes<Real>)
      chain<step, false>(nullptr, 0, rows, first, least(kChain, depth - first), panel, panel_stride);
  }

 private:
  /// One chain, from k = first on. Not inlined, or the compiler would keep the totals in a second place too.
  template <int step, bool set>
  __attribute__((noinline)) void chain(const Real* begin, int64_t begin_stride, const Real* const* rows, int64_t first,
                                       int64_t depth, const Real* panel, int64_t panel_stride) {
    Vec<Real> sums[M][P * V] = {};
    // A whole chain has a constant length, which the compiler unrolls without a remainder.
    if (depth == kChain)
      multiply<M, P, V, step>(rows, first, panel, panel_stride, kChain, sums);
    else
      multiply<M, P, V, step>(rows, first, panel, panel_stride, depth, sums);
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) {
      RNNFAST_UNROLL
      for (int p = 0; p < P; ++p) {
        RNNFAST_UNROLL
        for (int v = 0; v < V; ++v) {
          Real* to = at[m] + (p * V + v) * kLanes<Real>;
          store(to, load(set ? begin + p * begin_stride + v * kLanes<Real> : to) + sums[m][p * V + v]);
        }
      }
    }
  }
};

/// Calls tile.run<M, P, V>(row, column) over the blocks of M rows, for P panels of V vectors.
template <int M, int P, int V, typename Tile>
void run_blocks(const Tile& tile, int64_t first_row, int64_t blocks, int64_t column) {
  for (int64_t block = 0; block < blocks; ++block) tile.template run<M, P, V>(first_row + block * M, column);
}

/// The same over all columns. Panels are the outer loop: a panel stays in the cache while all rows go by.
template <int M, typename Tile>
void run_tiles(const Tile& tile, int64_t first_row, int64_t blocks, int64_t columns) {
  typedef typename Tile::Element Real;
  constexpr int P = kPanelsTogether<M>, V = kTileVectors;
  constexpr int64_t half = kHalfPanelVectors * kLanes<Real>;
  int64_t column = 0;
  for (; columns - column > (P - 1) * kPanel<Real> + half; column += P * kPanel<Real>)
    run_blocks<M, P, V>(tile, first_row, blocks, column);
  if constexpr (P > 1)
    for (; columns - column > half; column += kPanel<Real>) run_blocks<M, 1, V>(tile, first_row, blocks, column);
  if (columns - column > kLanes<Real>)
    run_blocks<M, 1, kHalfPanelVectors>(tile, first_row, blocks, column);
  else if (columns > column)
    run_blocks<M, 1, 1>(tile, first_row, blocks, column);
}

/// The same for a height known only at run time, 1 to kTileRows.
template <int M = kTileRows, typename Tile>
void run_tiles_of(int64_t height, const Tile& tile, int64_t first_row, int64_t blocks, int64_t columns) {
  if constexpr (M > 1)
    if (height < M) return run_tiles_of<M - 1>(height, tile, first_row, blocks, columns);
  if (blocks > 0) run_tiles<M>(tile, first_row, blocks, columns);
}

/// All rows [first_row, first_row + rows), in tiles whose heights differ by one at most: 64 rows are nine sixes and two
/// fives rather than ten sixes and a four.
template <typename Tile>
void cover(const Tile& tile, int64_t first_row, int64_t rows, int64_t columns) {
  if (rows <= 0) return;
  const int64_t blocks = divide_up(rows, kTileRows), height = rows / blocks, higher = rows % blocks;
  run_tiles_of(height + 1, tile, first_row, higher, columns);
  run_tiles_of(height, tile, first_row + higher * (height + 1), blocks - higher, columns);
}
