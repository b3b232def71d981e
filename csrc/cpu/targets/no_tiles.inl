// What narrow/tiles.inl declares, for targets without tile registers. Included inside a target's region, ahead of
// kernels.inl.

constexpr bool kTiles = false;
constexpr int kDepth = 1;

struct TileUnit {
  explicit TileUnit(int64_t) {}
  void shape(int64_t) {}
};

template <int M, int P, int V, bool set, typename Work>
void add_tiles(float* at, const float* begin, int64_t begin_stride, const float* a, int64_t a_stride, int64_t depth,
               const float* panel, int64_t panel_stride, Work& work);
