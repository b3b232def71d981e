// Products of bytes by the tile registers of AMX: eight of 16 rows of 64 bytes each. The functions on them are the
// target's (targets/amx_int8.cpp, and targets/amx_int8_emulated.cpp in plain C++):
//
//   tile_config(), tile_release()        all eight to 16 rows of 64 bytes; none, so that the system need not save them
//   tile_load<t>(from, stride)           row i of t = the 64 bytes at from + i * stride
//   tile_store<t>(to, stride)            the other way
//   tile_dpbusd<sum, a, b>()             sum[i][j] += the products of the bytes of a[i][k], unsigned, and b[k][j],
//   signed,
//                                        over the 16 words k
//
// Two registers of sums, one below the other, share each line of a panel that is loaded: with four the rows of a large
// layer would not stay in the L1 cache. Included by these targets behind the functions and int8/dots.inl; the others
// include int8/no_tiles.inl.

constexpr int kTileSide = 16;
constexpr int64_t kBlockRows = 2 * kTileSide;

/// Rows up to which registers without tiles are faster.
constexpr int64_t kFewTileRows = 3;

inline int64_t block_height(int64_t) { return kBlockRows; }

/// The tile registers of this thread, while a sweep of so many rows runs, if it needs them.
struct ByteTiles {
  explicit ByteTiles(int64_t rows) : needed(rows > kFewTileRows) {
    if (needed) tile_config();
  }
  ~ByteTiles() {
    if (needed) tile_release();
  }
  ByteTiles(const ByteTiles&) = delete;
  const bool needed;
};

/// Sums in registers 0 and 1, rows in 4 and 5, lines of the panel in 6 and 7: two of these, so that one is loaded while
/// the other is multiplied.
template <int B, int line>
RNNFAST_INLINE void add_line(const uint8_t* row, int64_t stride, const uint8_t* panel) {
  tile_load<line>(panel, int8::kLineBytes);
  tile_load<4>(row, stride);
  tile_dpbusd<0, 4, line>();
  if constexpr (B > 1) {
    tile_load<5>(row + kTileSide * stride, stride);
    tile_dpbusd<1, 5, line>();
  }
}

/// to[m][unit] = begin[unit] + the sum over the words of rows[m] . panel[unit], for B times 16 rows. Behind the words
/// of the last line the rows are zero, whatever the panel holds there.
template <int B>
void set_tiles(int32_t* to, const int32_t* begin, const uint8_t* row, int64_t stride, int64_t words,
               const uint8_t* panel) {
  tile_load<0>(begin, 0);  // every row the same
  if constexpr (B > 1) tile_load<1>(begin, 0);
  constexpr int64_t line = kTileSide * int8::kLineBytes;
  int64_t k = 0;
  for (; k + kTileSide < words; k += 2 * kTileSide, row += 128, panel += 2 * line) {
    add_line<B, 6>(row, stride, panel);
    add_line<B, 7>(row + 64, stride, panel + line);
  }
  if (k < words) add_line<B, 6>(row, stride, panel);
  tile_store<0>(to, 64);
  if constexpr (B > 1) tile_store<1>(to + kTileSide * kTileSide, 64);
}

/// The same for at most kBlockRows rows; what it makes of rows behind them means nothing.
inline void set_product(int32_t* to, const int32_t* begin, const uint8_t* row, int64_t stride, int64_t rows,
                        int64_t words, const uint8_t* panel) {
  if (rows <= kFewTileRows) return set_dots_of(rows, to, begin, row, stride, words, panel);
  if (rows <= kTileSide) return set_tiles<1>(to, begin, row, stride, words, panel);
  set_tiles<2>(to, begin, row, stride, words, panel);
}
