// From token ids to pooled hidden states, for one group of batch rows: a forward pass that writes no sequence.
//
// What a word adds to the sums of its time step is a row of a table, so only the recurrent products are left to make,
// and of the hidden states a row keeps their sum, their maximum and the last one, in memory that the caches hold.
// What a row gives depends on nothing else in the call: each of its sums is made in the same order wherever it stands.

/// The recurrent products of a table in float32 or float64. What those of another precision must have as well:
template <typename Cell, typename Real>
struct PooledProducts {
  typedef ForwardPass<Cell, Real> Layered;
  /// What h_t is kept as.
  typedef Real State;
  /// Is there while a group is swept.
  struct Unit {
    explicit Unit(int64_t) {}
  };

  static int64_t weights_size(const Pooled<Real>& f) { return Layered::cell_size(f); }

  static void pack(const Pooled<Real>& f, Real* weights, int64_t part, int64_t parts) {
    Layered::pack_cell(f, weights, part, parts);
  }

  /// Numbers of the working memory that one h_t takes.
  static int64_t state_size(int64_t H) { return padded<Real>(H); }

  static bool far(const Pooled<Real>& f) { return is_far<Real>(Layered::cell_size(f)); }
  static int64_t stripe(const Pooled<Real>& f) { return Cell::sums > 1 || far(f) ? kStripe : 1; }

  /// The rows that go through all time steps before the next ones.
  static int64_t together(const Pooled<Real>&) { return kGroupRows; }

  /// Of a tile's products by tile registers; there are none.
  static int64_t steps(const Pooled<Real>&) { return 0; }

  /// to = b_hh + W_hh h for sum s of some rows and panels of hidden units; `h` points to the first of these rows.
  template <int M, int P, int V, typename Work>
  static void set(Real* to, int s, const Pooled<Real>& f, const Real* weights, const Real* const* h, int64_t blocks,
                  int64_t unit, Work&) {
    const typename Layered::Panels w(f, weights, unit, V * kLanes<Real>, s);
    const int64_t panel = Layered::unit_size(f) * kPanel<Real>;
    add_product<M, P, V, true>(to, w.bias, panel, h, blocks, f.H, w.h, panel, far(f));
  }
};

template <typename Cell, typename Store, typename Products = PooledProducts<Cell, Store>>
struct PooledPass {
  typedef Work<Store> Real;  // of sums and cell states
  typedef typename Products::State State;
  static constexpr int64_t S = Cell::sums;
  static constexpr int kSaved = Cell::saved > 0 ? Cell::saved : 1;

  /// Time steps that are summed before their sum goes to the total, as kChain in tile.inl.
  static constexpr int64_t kSteps = 16;

  static int64_t weights_size(const Pooled<Store>& f) { return Products::weights_size(f); }

  static void pack(const Pooled<Store>& f, Real* weights, int64_t part, int64_t parts) {
    Products::pack(f, weights, part, parts);
  }

  /// What is kept of a row, all of it filled up to whole vectors: h_(t-1) and h_t in turn, c_t, the maximum, and the
  /// sums over the last steps and over those before.
  struct Places {
    int64_t state, width, c, max, sum, total, size;

    explicit Places(const Pooled<Store>& f)
        : state(Products::state_size(f.H)),
          width(padded<Real>(f.H)),
          c(divide_up(2 * state, kLanes<Real>) * kLanes<Real>),
          max(c + Cell::has_c * width),
          sum(max + width),
          total(sum + width),
          size(total + width) {}
  };

  static int64_t scratch_size(const Pooled<Store>& f) { return kGroupRows * Places(f).size; }

  /// From h_(t-1) and the words' rows of the table to h_t, its sum and its maximum.
  struct Tile {
    typedef Real Element;
    static constexpr int64_t kSums = S;
    const Pooled<Store>& f;
    const Places& at;
    const Real* weights;
    int64_t rows;
    const Store* const* x;     // of the table, for this time step
    const Store* const* next;  // and for the one after it
    Real* const* kept;         // of each row
    const Real* const* h;      // h_(t-1), of States
    State* const* y;           // h_t
    const int64_t* length;     // likewise
    int64_t t;

    bool far() const { return Products::far(f); }
    int64_t stripe() const { return Products::stripe(f); }

    // What narrow/pipeline.inl asks for.
    int64_t end() const { return rows; }
    bool backward() const { return false; }
    int64_t steps() const { return Products::steps(f); }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t unit) const {
      constexpr int64_t stride = kWidth<P, V, Real>, gap = kStripe * M * stride;
      alignas(64) Real sums[S * gap];
      NoWork none;
      multiply<M, P, V>(sums, gap, row, blocks, unit, none);
      finish_rows(sums, gap, stride, row, least(blocks * M, rows - row), unit);
    }

    template <int M, int P, int V, typename Work>
    RNNFAST_INLINE void multiply(Real* sums, int64_t gap, int64_t row, int64_t blocks, int64_t unit, Work& work) const {
      for (int s = 0; s < S; ++s)
        if (Cell::h_gate[s] >= 0)
          Products::template set<M, P, V>(sums + s * gap, s, f, weights, h + row, blocks, unit, work);
    }

    RNNFAST_INLINE void finish_row(const Real* sums, int64_t gap, int64_t width, int64_t row, int64_t first) const {
      finish_rows(sums, gap, width, row, 1, first);
    }

    RNNFAST_INLINE void finish_rows(const Real* sums, int64_t gap, int64_t stride, int64_t row, int64_t count,
                                    int64_t first) const {
      const int64_t width = least(stride, f.H - first);
      if (width % kLanes<Real> == 0)
        finish<true>(sums, gap, stride, row, count, first, width);
      else
        finish<false>(sums, gap, stride, row, count, first, width);
    }

    /// From the sums, `apart` from each other and `stride` for each row, to the state of `width` hidden units from
    /// `first` on. whole: they fill their vectors.
    template <bool whole>
    void finish(const Real* sums, int64_t apart, int64_t stride, int64_t row, int64_t count_rows, int64_t first,
                int64_t width) const {
      // What the loop needs, where no store can change it.
      const Places at = this->at;
      const int64_t H = f.H;
      const bool with_mean = f.mean, with_max = f.max;
      for (int64_t m = 0; m < count_rows; ++m) {
        const Store *const word = x[row + m] + first, *const soon = next[row + m] + first;
        const Real* const sum = sums + m * stride;
        const State* const from = reinterpret_cast<const State*>(h[row + m]) + first;
        State* const to = y[row + m] + first;
        Real* const state = kept[row + m] + first;
        const bool pools = is_second(f, t, length[row + m]);
        for (int64_t j = 0; j < width; j += kLanes<Real>) {
          const int64_t count = least(kLanes<Real>, width - j);
          Vec<Real> z[S], before = {}, cell = {}, saved[kSaved];
          for (int s = 0; s < S; ++s) {
            const int64_t gate = Cell::x_gate[s] * H + j;
            z[s] = Cell::h_gate[s] >= 0 ? load(sum + s * apart + j) : Vec<Real>{};
            if (Cell::x_gate[s] >= 0) z[s] += load_some<whole>(word + gate, count);
            if (Cell::x_gate[s] >= 0) fetch(soon + gate);
          }
          if (Cell::mixes_h || pools) before = load_some<whole>(from + j, count);
          if (Cell::has_c) cell = load(state + at.c + j);
          const Vec<Real> output = Cell::forward(z, before, cell, saved);
          store_some<whole>(to + j, output, count);
          if (Cell::has_c) store(state + at.c + j, cell);
          if (pools && with_mean) store(state + at.sum + j, load(state + at.sum + j) + (before + output));
          // The later state comes second, so a NaN goes through: once there, it is in every state to come.
          if (pools && with_max) store(state + at.max + j, greater(load(state + at.max + j), greater(before, output)));
        }
      }
    }
  };

  /// Whether of the pairs of steps that a row goes through the one at t is the second: then both are pooled, which
  /// halves the way of sum and maximum between the caches.
  static RNNFAST_INLINE bool is_second(const Pooled<Store>& f, int64_t t, int64_t length) {
    return (f.reverse ? length - 1 - t : t) % 2 != 0;
  }

  /// Points to the words' rows of the table at time step t.
  static void look_up(const Store** x, const Pooled<Store>& f, const RowGroup& rows, int64_t t, int64_t end) {
    for (int64_t r = 0; r < end; ++r) {
      const int64_t place = rows.index[r] * f.T + (f.padding_before ? f.T - rows.length[r] : 0) + t;
      x[r] = f.table + (f.ids ? f.ids[place] : f.wide_ids[place]) * f.table_stride;
    }
  }

  /// Pools the last state, where it has no second.
  static void pool_one(Real* kept, const Places& at, const State* y, int64_t H) {
    for (int64_t j = 0; j < H; j += kLanes<Real>) {
      const Vec<Real> state = load_some(y + j, least(kLanes<Real>, H - j));
      store(kept + at.sum + j, load(kept + at.sum + j) + state);
      store(kept + at.max + j, greater(load(kept + at.max + j), state));
    }
  }

  /// Adds the sums of the last steps to those before.
  static void add_up(Real* kept, const Places& at) {
    for (int64_t j = 0; j < at.width; j += kLanes<Real>) {
      store(kept + at.total + j, load(kept + at.total + j) + load(kept + at.sum + j));
      store(kept + at.sum + j, Vec<Real>{});
    }
  }

  /// Sweeps a group a few rows at a time where what is kept of these stays in the L1 cache.
  static const char* run(const Pooled<Store>& f, const Real* weights, const RowGroup& rows, Real* scratch) {
    const typename Products::Unit unit(rows.size);
    const int64_t some = Products::together(f);
    for (int64_t first = 0; first < rows.size; first += some)
      sweep(f, weights, {rows.index + first, rows.length + first, least(some, rows.size - first)}, scratch);
    return kName;
  }

  static void sweep(const Pooled<Store>& f, const Real* weights, const RowGroup& rows, Real* scratch) {
    const Places at(f);
    const Store* words[2][kGroupRows];
    const Real* h[2][kGroupRows];
    State* states[2][kGroupRows];
    Real* kept[kGroupRows];
    // All of them, since a tile may reach over rows that are not there.
    for (int64_t r = 0; r < kGroupRows; ++r) {
      kept[r] = scratch + r * at.size;
      for (int turn = 0; turn < 2; ++turn) {
        h[turn][r] = kept[r] + turn * at.state;
        states[turn][r] = reinterpret_cast<State*>(kept[r] + turn * at.state);
      }
    }
    for (int64_t r = 0; r < rows.size; ++r) {
      for (int64_t j = 0; j < at.size; j += kLanes<Real>) store(kept[r] + j, Vec<Real>{});
      for (int64_t j = 0; j < at.width; j += kLanes<Real>)
        store(kept[r] + at.max + j, Vec<Real>{} - std::numeric_limits<Real>::infinity());
    }
    const int64_t begin = f.reverse ? rows.length[0] - 1 : 0;
    int turn = 0;
    look_up(words[turn], f, rows, begin, rows_at(rows, begin));
    for_steps(rows, f.reverse, [&](const Step& step) {
      const int64_t following = step.t + (f.reverse ? -1 : 1);
      const bool ends = f.reverse ? step.t == 0 : following == rows.length[0];
      const Store **x = words[turn], **next = words[1 - turn];
      if (!ends) look_up(next, f, rows, following, rows_at(rows, following));
      for (int64_t r = step.going_on; r < step.active; ++r) next[r] = x[r];
      State* const* y = states[1 - turn];
      cover(nullptr, Tile{f, at, weights, step.active, x, next, kept, h[turn], y, rows.length, step.t}, 0, step.active,
            f.H);
      turn = 1 - turn;
      if (step.t % kSteps == 0)
        for (int64_t r = 0; r < step.active; ++r) add_up(kept[r], at);
      for (int64_t r = step.going_on; r < step.active; ++r) {
        const int64_t n = rows.index[r], length = rows.length[r];
        if (!is_second(f, step.t, length)) pool_one(kept[r], at, y[r], f.H);
        add_up(kept[r], at);
        for (int64_t j = 0; f.mean && j < f.H; ++j) f.mean[n * f.H + j] = kept[r][at.total + j] / Real(length);
        if (f.max) __builtin_memcpy(f.max + n * f.H, kept[r] + at.max, f.H * sizeof(Real));
        for (int64_t j = 0; f.last && j < f.H; j += kLanes<Real>) {
          const int64_t count = least(kLanes<Real>, f.H - j);
          store_some(f.last + n * f.H + j, Vec<Real>(load_some(y[r] + j, count)), count);
        }
      }
    });
  }
};
