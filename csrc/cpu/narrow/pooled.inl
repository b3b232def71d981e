// The recurrent products from a table in bfloat16, for the pass of cpu/pooled.inl: h_(t-1) is kept as operands, so that
// nothing is converted between two steps. Sums, cell states and what is pooled are floats.
//
// Weights: for each panel of hidden units, and for each sum that has w_hh in turn, the bias [width], then
// [words of H][width] of w_hh.

template <typename Cell, typename Store>
struct NarrowPooledProducts {
  typedef Operand State;
  typedef TileUnit Unit;
  static constexpr int64_t S = Cell::sums;

  /// How many of the sums [0, end) have w_hh.
  static constexpr int64_t products(int end = S) {
    int64_t count = 0;
    for (int s = 0; s < end; ++s) count += Cell::h_gate[s] >= 0;
    return count;
  }

  /// Packed words of one hidden unit.
  static int64_t unit_size(const Pooled<Store>& f) { return products() * (1 + words_for(f.H)); }

  static int64_t weights_size(const Pooled<Store>& f) { return padded<float>(f.H) * unit_size(f); }

  static void pack(const Pooled<Store>& f, float* weights, int64_t part, int64_t parts) {
    for (int64_t unit = part * kPanel<float>; unit < f.H; unit += parts * kPanel<float>) {
      const int64_t units = least(kPanel<float>, f.H - unit), width = panel_width<float>(units);
      float* to = weights + unit * unit_size(f);
      for (int s = 0; s < S; ++s) {
        if (Cell::h_gate[s] < 0) continue;
        const int64_t row = Cell::h_gate[s] * f.H + unit;
        for (int64_t j = 0; j < width; j += kLanes<float>) {
          const int64_t count = least(kLanes<float>, units - j);
          store(to + j, f.b_hh && count > 0 ? Vec<float>(load_some(f.b_hh + row + j, count)) : Vec<float>{});
        }
        to = pack_operand_columns(to + width, f.w_hh + row * f.H, units, f.H);
      }
    }
  }

  static int64_t state_size(int64_t H) { return words_for(H); }

  static bool far(const Pooled<Store>& f) { return is_far<float>(weights_size(f)); }
  // The sums of a block of tiles stay in the L1 cache.
  static int64_t stripe(const Pooled<Store>& f) { return S > 1 || far(f) ? kStripe : 1; }
  static int64_t steps(const Pooled<Store>& f) { return products() * words_for(f.H) / kDepth; }

  static int64_t together(const Pooled<Store>& f) { return kTiles && !far(f) ? kTileRows : kGroupRows; }

  template <int M, int P, int V, typename Work>
  static void set(float* to, int s, const Pooled<Store>& f, const float* weights, const float* const* h, int64_t blocks,
                  int64_t unit, Work& work) {
    constexpr int64_t width = V * kLanes<float>;
    const int64_t depth = words_for(f.H), stride = unit_size(f) * kPanel<float>;
    const float* const bias = weights + unit * unit_size(f) + products(s) * (1 + depth) * width;
    if constexpr (kTiles)
      add_tiles<M, P, V, true>(to, bias, stride, h[0], h[1] - h[0], depth, bias + width, stride, work);
    else
      add_product<M, P, V, true>(to, bias, stride, h, blocks, depth, bias + width, stride, far(f));
  }
};

/// A table in float32 is read by the pass of its own precision alone.
struct NoPooled {
  static constexpr std::nullptr_t weights_size = nullptr, pack = nullptr, scratch_size = nullptr, run = nullptr;
};

template <typename Cell, typename Store>
using NarrowPooled =
    typename std::conditional<sizeof(Store) == sizeof(BFloat16),
                              PooledPass<Cell, Store, NarrowPooledProducts<Cell, Store>>, NoPooled>::type;
