// Products by the tile registers of AMX: eight of 16 rows of 64 bytes each. The functions on them are the target's
// (targets/amx.cpp, and targets/amx_emulated.cpp in plain C++):
//
//   tile_config(rows), tile_release()    all eight to rows of 64 bytes, of which the first five have so many and the
//                                        others 16; none, so that the system need not save them
//   tile_load<t>(from, stride)           row i of t = the 64 bytes at from + i * stride floats
//   tile_store<t>(to, stride)            the other way
//   tile_dpbf16ps<sum, a, b>()           sum[i][j] += a[i][k] b[k][j] over the 16 pairs k
//
// A tile of a product is 2 x 2 registers of sums, so that each register that is loaded serves two products. Included by
// these targets behind the functions, and ahead of passes.inl; the others include targets/no_tiles.inl.

constexpr bool kTiles = true;
constexpr int kTileSide = 16;
constexpr int kDepth = kTileSide;  // words in a row of a tile

/// The tile registers of this thread, while a sweep runs.
struct TileUnit {
  explicit TileUnit(int64_t rows) { shape(rows); }
  ~TileUnit() { tile_release(); }
  TileUnit(const TileUnit&) = delete;

  /// Products of fewer than 16 rows take less time where the registers have no more.
  void shape(int64_t rows) { tile_config(rows < kTileSide ? static_cast<int>(rows) : kTileSide); }
};

/// at[i][j] += the sum over k of a[i][k] panel[k][j], words of a pair each; or, if `set`, at[i][j] = begin[j] + that.
/// The M rows of `a` stand a_stride words apart; the columns are those of P panels of V registers, of which the second
/// one's begin stands begin_stride and its words panel_stride behind the first one's. depth: a multiple of 16. After
/// every 16 words of it, `work` does a step, since the vector units have nothing to do meanwhile.
template <int M, int P, int V, bool set, typename Work>
void add_tiles(float* at, const float* begin, int64_t begin_stride, const float* a, int64_t a_stride, int64_t depth,
               const float* panel, int64_t panel_stride, Work& work) {
  static_assert(M % kTileSide == 0 && M <= 2 * kTileSide && V <= 2 && P * V * M <= 4 * kTileSide);
  constexpr bool tall = M > kTileSide, wide = V > 1, two = P > 1;
  constexpr int64_t width = P * V * kTileSide, words = V * kTileSide;
  float* const below = at + kTileSide * width;
  // Sums in 0 to 3: two rows of two registers, or one row; those of `a` in 4 and, of a second row, 5; those of the
  // panels in 6, 7 and, of a second panel, 5 and 6 again.
  const int64_t stride = set ? 0 : width;  // 0: every row the same
  const float* const second = begin + begin_stride;
  tile_load<0>(set ? begin : at, stride);
  if constexpr (wide) tile_load<1>(set ? begin + kTileSide : at + kTileSide, stride);
  if constexpr (two) tile_load<2>(set ? second : at + words, stride);
  if constexpr (two && wide) tile_load<3>(set ? second + kTileSide : at + words + kTileSide, stride);
  if constexpr (tall) tile_load<2>(set ? begin : below, stride);
  if constexpr (tall && wide) tile_load<3>(set ? begin + kTileSide : below + kTileSide, stride);
  for (int64_t k = 0; k < depth; k += kTileSide, panel += kTileSide * words) {
    tile_load<6>(panel, words);
    tile_load<4>(a + k, a_stride);
    tile_dpbf16ps<0, 4, 6>();
    if constexpr (wide) {
      tile_load<7>(panel + kTileSide, words);
      tile_dpbf16ps<1, 4, 7>();
    }
    if constexpr (tall) {
      tile_load<5>(a + kTileSide * a_stride + k, a_stride);
      tile_dpbf16ps<2, 5, 6>();
      if constexpr (wide) tile_dpbf16ps<3, 5, 7>();
    }
    if constexpr (two) {
      tile_load<5>(panel + panel_stride, words);
      tile_dpbf16ps<2, 4, 5>();
      if constexpr (wide) {
        tile_load<6>(panel + panel_stride + kTileSide, words);
        tile_dpbf16ps<3, 4, 6>();
      }
    }
    work.step();
  }
  tile_store<0>(at, width);
  if constexpr (wide) tile_store<1>(at + kTileSide, width);
  if constexpr (two) tile_store<2>(at + words, width);
  if constexpr (two && wide) tile_store<3>(at + words + kTileSide, width);
  if constexpr (tall) tile_store<2>(below, width);
  if constexpr (tall && wide) tile_store<3>(below + kTileSide, width);
}
