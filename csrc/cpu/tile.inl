// Register-blocked matrix tiles over packed panels: where all multiplications happen but those of dot.inl.
//
// A matrix is packed as panels of columns, row by row: [depth][width]. A panel is kTileVectors vectors wide; the last
// one may be half of that, or one vector. A tile is M rows by P panels of V vectors whose sums stay in registers. Rows
// are pointers, so that they may come from anywhere: no gathering, no copies. Where products are made by tile registers
// (kTiles), rows are operands of narrow/numbers.inl, a constant distance apart.

template <typename Real>
constexpr int kPanel = kTileVectors * kLanes<Real>;

constexpr int kHalfPanelVectors = kTileVectors > 1 ? kTileVectors / 2 : 1;

constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

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

/// Panels that a tile of M rows takes together: a few rows alone have too few sums to hide the latency of an FMA. Of
/// tile registers there are four for sums.
template <int M>
constexpr int kPanelsTogether = kTiles                      ? kTileRows / M
                                : M * kTileVectors >= 6     ? 1
                                : M * kTileVectors * 2 >= 6 ? 2
                                                            : 4;

/// The most blocks of rows that share a panel before the next panel: those of a group.
constexpr int64_t kStripe = divide_up(kGroupRows, kTileRows) + 1;

/// Whether so many packed numbers leave the L2 cache between two time steps. Of these each part of a panel goes through
/// all blocks before the next one, which is fetched meanwhile.
template <typename Real>
bool is_far(int64_t numbers) {
  return numbers * int64_t(sizeof(Real)) > 1 << 20;
}

/// sums[m][v] += rows[m][k * step] * panel[k][v] for first <= k < first + depth; `panel` begins at k = first. For
/// each k so many vectors from `ahead` on are fetched into the L2 cache: evenly, since a burst of them would hold up
/// the loads between.
template <int M, int P, int V, int step, int fetches, typename Real>
RNNFAST_INLINE void multiply(const Real* const* rows, int64_t first, const Real* panel, int64_t panel_stride,
                             int64_t depth, Vec<Real> (&sums)[M][P * V], const Real* ahead) {
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
    for (int f = 0; f < fetches; ++f) __builtin_prefetch(ahead + (k * fetches + f) * kLanes<Real>, 0, 2);
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) {
      RNNFAST_UNROLL
      for (int v = 0; v < P * V; ++v) add_products(sums[m][v], row[m] + k * step, columns[v]);
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

/// The numbers in a row of a tile.
template <int P, int V, typename Real>
constexpr int64_t kWidth = P * V * kLanes<Real>;

/// One chain of one tile: at[m][column] += the sum of rows[m][k * step] * panel[k][column] over first <= k < first +
/// depth, `panel` being that of k = first; or, if `set`, at[m][column] = begin[column] + that. If there is `ahead`,
/// the vectors from there on are fetched, one or two for each k. Not inlined, or the compiler would keep the totals in
/// a second place too.
template <int M, int P, int V, int step, bool set, typename Real>
__attribute__((noinline)) void add_chain(Real* at, const Real* begin, int64_t begin_stride, const Real* const* rows,
                                         int64_t first, int64_t depth, const Real* panel, int64_t panel_stride,
                                         const Real* ahead = nullptr, bool twice = false) {
  Vec<Real> sums[M][P * V] = {};
  // A whole chain has a constant length, which the compiler unrolls without a remainder.
  if (step == 1 && ahead && twice)
    multiply<M, P, V, step, step == 1 ? 2 : 0>(rows, first, panel, panel_stride, depth, sums, ahead);
  else if (step == 1 && ahead)
    multiply<M, P, V, step, step == 1 ? 1 : 0>(rows, first, panel, panel_stride, depth, sums, ahead);
  else if (depth == kChain)
    multiply<M, P, V, step, 0>(rows, first, panel, panel_stride, kChain, sums, ahead);
  else
    multiply<M, P, V, step, 0>(rows, first, panel, panel_stride, depth, sums, ahead);
  RNNFAST_UNROLL
  for (int m = 0; m < M; ++m) {
    RNNFAST_UNROLL
    for (int p = 0; p < P; ++p) {
      RNNFAST_UNROLL
      for (int v = 0; v < V; ++v) {
        Real* to = at + m * kWidth<P, V, Real> + (p * V + v) * kLanes<Real>;
        store(to, load(set ? begin + p * begin_stride + v * kLanes<Real> : to) + sums[m][p * V + v]);
      }
    }
  }
}

/// at[row][column] += the sum of rows[row][k] * panel[k][column] over k < depth, for some blocks of M rows; or, if
/// `set`, at[row][column] = begin[column] + that. What belongs to the second panel stands one stride behind. If the
/// panels are far, the first V blocks fetch the next part of them.
template <int M, int P, int V, bool set, typename Real>
void add_product(Real* at, const Real* begin, int64_t begin_stride, const Real* const* rows, int64_t blocks,
                 int64_t depth, const Real* panel, int64_t panel_stride, bool far) {
  int64_t first = 0;
  do {
    const int64_t some = least(kChain, depth - first);
    const Real* part = panel + first * V * kLanes<Real>;
    for (int64_t block = 0; block < blocks; ++block) {
      const bool twice = blocks < V;
      const Real* ahead = far && P == 1 && block < V ? part + (V + block * (1 + twice)) * some * kLanes<Real> : nullptr;
      Real* to = at + block * M * kWidth<P, V, Real>;
      if (set && first == 0)
        add_chain<M, P, V, 1, true>(to, begin, begin_stride, rows + block * M, first, some, part, panel_stride, ahead,
                                    twice);
      else
        add_chain<M, P, V, 1, false>(to, begin, 0, rows + block * M, first, some, part, panel_stride, ahead, twice);
    }
  } while ((first += kChain) < depth);
}

/// at[row][column] = the sum of rows[row][k] * panel[k][column] over k < depth; zero if `rows` is null.
template <int M, int P, int V, typename Real>
void set_product(Real* at, const Real* const* rows, int64_t blocks, int64_t depth, const Real* panel, bool far) {
  if (rows)
    add_product<M, P, V, true>(at, kZeros<Real>, 0, rows, blocks, depth, panel, depth * kPanel<Real>, far);
  else
    __builtin_memset(at, 0, blocks * M * kWidth<P, V, Real> * sizeof(Real));
}

/// Nothing is done beside a product by tile registers (narrow/pipeline.inl).
struct NoWork {
  RNNFAST_INLINE void step() {}
};

/// Calls tile.run<M, P, V>(row, blocks, column) over the blocks of M rows, at most tile.stripe() at a time, for P
/// panels of V vectors.
template <int M, int P, int V, typename Tile>
void run_blocks(Tile& tile, int64_t row, int64_t blocks, int64_t column) {
  for (int64_t some; blocks > 0; blocks -= some, row += some * M) {
    some = least(tile.stripe(), blocks);
    tile.template run<M, P, V>(row, some, column);
  }
}

/// The same over the columns [column, end). Panels are the outer loop: a panel stays in the cache while all rows go by.
template <int M, typename Tile>
void run_tiles(Tile& tile, int64_t row, int64_t blocks, int64_t column, int64_t end) {
  typedef typename Tile::Element Real;
  constexpr int P = kPanelsTogether<M>, V = kTileVectors;
  constexpr int64_t half = kHalfPanelVectors * kLanes<Real>;
  for (; end - column > (P - 1) * kPanel<Real> + half; column += P * kPanel<Real>)
    run_blocks<M, P, V>(tile, row, blocks, column);
  if constexpr (P > 1)
    for (; end - column > half; column += kPanel<Real>) run_blocks<M, 1, V>(tile, row, blocks, column);
  if (end - column > kLanes<Real>)
    run_blocks<M, 1, kHalfPanelVectors>(tile, row, blocks, column);
  else if (end > column)
    run_blocks<M, 1, 1>(tile, row, blocks, column);
}

/// The same for a height known only at run time, 1 to kTileRows.
template <int M = kTileRows, typename Tile>
void run_tiles_of(int64_t height, const Tile& tile, int64_t row, int64_t blocks, int64_t column, int64_t end) {
  if constexpr (M > 1)
    if (height < M) return run_tiles_of<M - 1>(height, tile, row, blocks, column, end);
  if (blocks > 0) run_tiles<M>(tile, row, blocks, column, end);
}

/// Columns [column, end) of the rows [row, row + rows), in tiles whose heights differ by one at most: 64 rows are nine
/// sixes and two fives rather than ten sixes and a four.
template <typename Tile>
void cover_columns(const Tile& tile, int64_t row, int64_t rows, int64_t column, int64_t end) {
  const int64_t blocks = divide_up(rows, kTileRows), height = rows / blocks, higher = rows % blocks;
  // Tiles of both heights use a panel before the next one, if it comes from afar.
  const int64_t width = tile.far() && higher ? kPanel<typename Tile::Element> : end - column;
  for (int64_t to; column < end; column = to) {
    to = least(end, column + width);
    run_tiles_of(height + 1, tile, row, higher, column, to);
    run_tiles_of(height, tile, row + higher * (height + 1), blocks - higher, column, to);
  }
}

/// Calls run(0) ... run(items - 1): all of them, or, as a member of a team, some.
template <typename Run>
void share(Member* member, int64_t items, const Run& run) {
  if (member) return member->share(items, run);
  for (int64_t item = 0; item < items; ++item) run(item);
}

/// Columns [column, end) of some rows.
template <typename Tile>
void cover_some(const Tile& tile, int64_t row, int64_t rows, int64_t column, int64_t end) {
  if constexpr (kTiles)
    cover_by_registers(tile, row, rows, column, end);
  else
    cover_columns(tile, row, rows, column, end);
}

/// All columns of some rows; each panel is an item of a team.
template <typename Tile>
void cover(Member* member, const Tile& tile, int64_t row, int64_t rows, int64_t columns) {
  constexpr int64_t width = kPanel<typename Tile::Element>;
  if (rows <= 0) return;
  if (!member) return cover_some(tile, row, rows, 0, columns);
  member->share(divide_up(columns, width),
                [&](int64_t item) { cover_some(tile, row, rows, item * width, least(columns, (item + 1) * width)); });
}
