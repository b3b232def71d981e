// Tiles by tile registers, each one finished while the next one is multiplied.
//
// What the registers store cannot be read at once: it has to reach the cache first. So the sums of a tile wait in one
// of two buffers, and the vector units make its results in the gaps of the next tile's products.

/// Runs the products of a Tile, which has
///   multiply<M, P, V>(sums, gap, row, 1, column, work)  the sums of a tile, those of one kind `gap` numbers behind
///                                                       those of the one before
///   steps()                                             how often `work` does a step meanwhile
///   finish_row(sums, gap, width, row, column)           what becomes of one row of them
///   end()                                               behind the last row that is there
///   far(), backward()                                   whether its panels come from afar, and in falling order
template <typename Tile>
class Pipeline {
 public:
  typedef float Element;

  explicit Pipeline(const Tile& tile) : tile_(tile) {}
  Pipeline(const Pipeline&) = delete;
  ~Pipeline() { finish(); }

  int64_t stripe() const { return 1; }

  template <int M, int P, int V>
  void run(int64_t row, int64_t, int64_t column) {
    float* const sums = sums_[turn_];
    turn_ = 1 - turn_;
    const int64_t steps = tile_.steps();
    some_ = steps > 0 ? divide_up(end_ - row_, steps) : 0;
    tile_.template multiply<M, P, V>(sums, kGap, row, 1, column, *this);
    finish();
    waiting_ = sums;
    width_ = kWidth<P, V, float>;
    row_ = row;
    end_ = least(row + M, tile_.end());
    column_ = column;
  }

  /// Some rows of the tile that waits.
  RNNFAST_INLINE void step() {
    for (int64_t i = 0; i < some_ && row_ < end_; ++i) finish_row();
  }

 private:
  static constexpr int64_t kGap = kTileRows * kPanel<float>;

  void finish() {
    while (row_ < end_) finish_row();
  }

  RNNFAST_INLINE void finish_row() {
    tile_.finish_row(waiting_, kGap, width_, row_, column_);
    waiting_ += width_;
    ++row_;
  }

  const Tile& tile_;
  const float* waiting_ = nullptr;  // the sums of row_
  int64_t width_ = 0, row_ = 0, end_ = 0, column_ = 0, some_ = 0;
  int turn_ = 0;
  alignas(64) float sums_[2][Tile::kSums * kGap];
};

/// Columns [column, end) of the rows [row, row + rows), and of some behind them, in tiles of one or two registers'
/// rows. What a Tile makes of rows that are not there, it leaves out.
template <typename Tile>
void cover_by_registers(const Tile& tile, int64_t row, int64_t rows, int64_t column, int64_t end) {
  constexpr int half = kTileRows / 2;
  const int64_t pairs = (rows + half - 1) / kTileRows, last = row + pairs * kTileRows;
  Pipeline<Tile> pipeline(tile);
  if (!tile.far()) {  // rows stay in the L1 cache while the panels go by
    for (int64_t pair = row; pair < last; pair += kTileRows) run_tiles<kTileRows>(pipeline, pair, 1, column, end);
    if (last < row + rows) run_tiles<half>(pipeline, last, 1, column, end);
    return;
  }
  // Panels from afar are used by all rows before the next. Every other step goes backward over them: what it begins
  // with was used last, and is still in the L2 cache.
  constexpr int64_t width = 2 * kPanel<float>;
  const int64_t parts = divide_up(end - column, width);
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t from = column + (tile.backward() ? parts - 1 - i : i) * width, to = least(end, from + width);
    for (int64_t pair = row; pair < last; pair += kTileRows) run_tiles<kTileRows>(pipeline, pair, 1, from, to);
    if (last < row + rows) run_tiles<half>(pipeline, last, 1, from, to);
  }
}
