// Products with a matrix, row by row wherever the rows stand: with its packed panels, or with the matrix where it
// stands.

/// to[row] = from[row] times the packed panels, plus what the addends (each null if there is none) hold for the row.
template <typename Real>
struct ProductTile {
  typedef Real Element;
  const Real* const* from;  // null: zeros
  const Real* weights;      // panels of [depth][width]
  int64_t depth, columns;
  Real* const* to;
  const Real* const* addend = nullptr;
  const Real* const* second_addend = nullptr;

  bool far() const { return is_far<Real>(depth * columns); }
  int64_t stripe() const { return far() ? kStripe : 1; }

  template <int M, int P, int V>
  void run(int64_t row, int64_t blocks, int64_t column) const {
    alignas(64) Real sums[kStripe * M * kWidth<P, V, Real>];
    set_product<M, P, V>(sums, from ? from + row : nullptr, blocks, depth, weights + column * depth, far());
    finish(sums, kWidth<P, V, Real>, row, blocks * M, column);
  }

  void finish_panel(const Real* sums, int64_t row, int64_t rows, int64_t first) const {
    finish(sums, kPanel<Real>, row, rows, first);
  }

  void finish(const Real* sums, int64_t stride, int64_t row, int64_t rows, int64_t first) const {
    const int64_t width = least(stride, columns - first);
    for (const int64_t end = row + rows; row < end; ++row, sums += stride)
      for (int64_t j = 0; j < width; j += kLanes<Real>) {
        const int64_t column = first + j, count = least(kLanes<Real>, width - j);
        Vec<Real> sum = load(sums + j);
        if (addend) sum += load_some(addend[row] + column, count);
        if (second_addend) sum += load_some(second_addend[row] + column, count);
        store_some(to[row] + column, sum, count);
      }
  }
};

/// A matrix of blocks of H rows, of which the product takes one after the other in the given order.
template <typename Real>
struct Standing {
  const Real* data;  // [blocks*H][columns]
  const int* order;
  int64_t blocks, H, columns;
};

/// Rows that are multiplied together with a matrix where it stands: their sums stay in registers.
constexpr int kStandingRows = kTileRows * kTileVectors >= 20 ? 4 : kTileRows;

/// One chain: at[m][j] += the sum over k < depth of rows[m][first + k] from[k * stride + j], for some vectors of
/// columns; or, if `sets`, it is that. whole: all of them are there, else only `lanes` of the last one.
template <int M, int V, bool whole, typename Real>
void add_standing(Real* at, const Real* const* rows, int64_t first, int64_t depth, const Real* from, int64_t stride,
                  int64_t lanes, bool sets) {
  const Real* row[M];
  RNNFAST_UNROLL
  for (int m = 0; m < M; ++m) row[m] = rows[m] + first;
  Vec<Real> sums[M][V] = {};
  for (int64_t k = 0; k < depth; ++k) {
    RNNFAST_UNROLL
    for (int v = 0; v < V; ++v) {
      const Real* column = from + k * stride + v * kLanes<Real>;
      const Vec<Real> weights = whole || v < V - 1 ? load(column) : load_some(column, lanes);
      RNNFAST_UNROLL
      for (int m = 0; m < M; ++m) sums[m][v] += row[m][k] * weights;
    }
  }
  RNNFAST_UNROLL
  for (int m = 0; m < M; ++m) {
    RNNFAST_UNROLL
    for (int v = 0; v < V; ++v) {
      Real* to = at + m * kPanel<Real> + v * kLanes<Real>;
      store(to, sets ? sums[m][v] : load(to) + sums[m][v]);
    }
  }
}

/// The same for a height known only at run time, 1 to kStandingRows.
template <int V, bool whole, int M = kStandingRows, typename Real>
void add_standing_of(int64_t height, Real* at, const Real* const* rows, int64_t first, int64_t depth, const Real* from,
                     int64_t stride, int64_t lanes, bool sets) {
  if constexpr (M > 1)
    if (height < M) return add_standing_of<V, whole, M - 1>(height, at, rows, first, depth, from, stride, lanes, sets);
  add_standing<M, V, whole>(at, rows, first, depth, from, stride, lanes, sets);
}

/// at[m][j] = the sum over k of rows[m][k] w[k][first + j] for `count` rows and some vectors of columns. All rows go
/// through a chain before the next one: the rows of the matrix stand apart, mostly each in a page of its own.
template <int V, bool whole, typename Real>
void set_standing(Real* at, const Real* const* rows, int64_t count, const Standing<Real>& w, int64_t first,
                  int64_t lanes) {
  const int64_t tiles = divide_up(count, kStandingRows), height = count / tiles, higher = count % tiles;
  for (int64_t block = 0, before = 0; block < w.blocks; ++block, before += w.H) {
    const Real* from = w.data + w.order[block] * w.H * w.columns + first;
    for (int64_t begin = 0; begin < w.H; begin += kChain)
      for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {
        const int64_t some = height + (tile < higher);
        add_standing_of<V, whole>(some, at + row * kPanel<Real>, rows + row, before + begin, least(kChain, w.H - begin),
                                  from + begin * w.columns, w.columns, lanes, block == 0 && begin == 0);
        row += some;
      }
  }
}

/// What ProductTile and the like make of at most kFewVectors rows, with the matrix where it stands. from: null: zeros.
template <typename Real, typename Tile>
void cover_standing(Member* member, const Tile& tile, const Standing<Real>& w, const Real* const* from, int64_t row,
                    int64_t rows) {
  if (rows <= 0) return;
  share(member, divide_up(w.columns, kPanel<Real>), [&](int64_t panel) {
    const int64_t first = panel * kPanel<Real>, rest = least(kPanel<Real>, w.columns - first);
    alignas(64) Real sums[kFewVectors * kPanel<Real>];
    if (!from)
      __builtin_memset(sums, 0, rows * kPanel<Real> * sizeof(Real));
    else if (rest == kPanel<Real>)
      set_standing<kTileVectors, true>(sums, from + row, rows, w, first, 0);
    else
      for (int64_t j = 0; j < rest; j += kLanes<Real>)
        set_standing<1, false>(sums + j, from + row, rows, w, first + j, least(kLanes<Real>, rest - j));
    tile.finish_panel(sums, row, rows, first);
  });
}
