// Products by the tile registers of AMX: eight of 16 rows of 64 bytes each. The functions on them are the target's
// (targets/amx.cpp, and targets/amx_emulated.cpp in plain C++):
//
//   tile_config(), tile_release()        all eight to 16 rows of 64 bytes; none, so that the system need not save them
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
  TileUnit() { tile_config(); }
  ~TileUnit() { tile_release(); }
  TileUnit(const TileUnit&) = delete;
};

/// at[i][j] += the sum over k of a[i][k] panel[k][j], words of a pair each; or, if `set`, at[i][j] = begin[j] + that.
/// The rows of `a` stand a_stride words apart, M of them, those of the others V registers. depth: a multiple of 16.
template <int M, int V, bool set>
void add_tiles(float* at, const float* begin, const float* a, int64_t a_stride, int64_t depth, const float* panel) {
  static_assert(M % kTileSide == 0 && M <= 2 * kTileSide && V <= 2);
  constexpr bool tall = M > kTileSide, wide = V > 1;
  constexpr int64_t width = V * kTileSide;
  float *const below = at + kTileSide * width, *const right = at + kTileSide;
  // Sums in 0 to 3, row by row; those of `a` in 4 and 5, those of the panel in 6 and 7.
  const int64_t stride = set ? 0 : width;  // 0: every row the same
  tile_load<0>(set ? begin : at, stride);
  if constexpr (wide) tile_load<1>(set ? begin + kTileSide : right, stride);
  if constexpr (tall) tile_load<2>(set ? begin : below, stride);
  if constexpr (tall && wide) tile_load<3>(set ? begin + kTileSide : below + kTileSide, stride);
  for (int64_t k = 0; k < depth; k += kTileSide, panel += kTileSide * width) {
    tile_load<6>(panel, width);
    tile_load<4>(a + k, a_stride);
    tile_dpbf16ps<0, 4, 6>();
    if constexpr (wide) {
      tile_load<7>(panel + kTileSide, width);
      tile_dpbf16ps<1, 4, 7>();
    }
    if constexpr (tall) {
      tile_load<5>(a + kTileSide * a_stride + k, a_stride);
      tile_dpbf16ps<2, 5, 6>();
      if constexpr (wide) tile_dpbf16ps<3, 5, 7>();
    }
  }
  tile_store<0>(at, width);
  if constexpr (wide) tile_store<1>(right, width);
  if constexpr (tall) tile_store<2>(below, width);
  if constexpr (tall && wide) tile_store<3>(below + kTileSide, width);
}
