// The forward pass of one cell over one group of batch rows, with narrow operands.
//
// It differs from the pass of float32 in what it multiplies: x_t and h_(t-1) stand beside each other as operands, so
// that one product takes both. Sums and cell states are floats. Store: the numbers of the caller's tensors.
//
// Weights: for each panel of hidden units, and for each sum in turn, the bias [width], then [words of I][width] of w_ih
// and [words of P][width] of w_hh if the sum has them. Behind all of it panels of [words of H][width] of w_hr, if there
// is one.

template <typename Cell, typename Store>
struct NarrowForward {
  static constexpr int64_t S = Cell::sums, R = Cell::saved;
  static constexpr int kSaved = R > 0 ? R : 1;
  typedef ForwardPass<Cell, float> Wide;

  /// Packed words of one hidden unit.
  static int64_t unit_size(const Layer<Store>& f) {
    return S + Wide::count_of(Cell::x_gate) * words_for(f.I) + Wide::count_of(Cell::h_gate) * words_for(f.P);
  }

  static int64_t cell_size(const Layer<Store>& f) { return padded<float>(f.H) * unit_size(f); }

  static int64_t weights_size(const Layer<Store>& f) {
    return is_direct(f) ? 0 : cell_size(f) + (f.w_hr ? padded<float>(f.P) * words_for(f.H) : 0);
  }

  /// So few vectors that the weights are multiplied where they stand: packing them would take longer.
  static constexpr int64_t kDirect = 8;
  static bool is_direct(const Layer<Store>& f) { return f.T * f.N <= kDirect && !f.w_hr; }

  /// The part-th of so many parts, which may be packed at the same time.
  static void pack(const Layer<Store>& f, float* weights, int64_t part, int64_t parts) {
    if (is_direct(f)) return;
    pack_cell(f, weights, part, parts);
    for (int64_t unit = part * kPanel<float>; f.w_hr && unit < f.P; unit += parts * kPanel<float>)
      pack_operand_columns(weights + cell_size(f) + unit * words_for(f.H), f.w_hr + unit * f.H,
                           least(kPanel<float>, f.P - unit), f.H);
  }

  /// The same for all but w_hr.
  static void pack_cell(const Layer<Store>& f, float* weights, int64_t part, int64_t parts) {
    for (int64_t unit = part * kPanel<float>; unit < f.H; unit += parts * kPanel<float>) {
      const int64_t units = least(kPanel<float>, f.H - unit), width = panel_width<float>(units);
      float* to = weights + unit * unit_size(f);
      for (int s = 0; s < S; ++s) {
        const int x = Cell::x_gate[s], h = Cell::h_gate[s];
        put_bias(f, to, s, unit, units, width);
        to += width;
        if (x >= 0) to = pack_operand_columns(to, f.w_ih + (x * f.H + unit) * f.I, units, f.I);
        if (h >= 0) to = pack_operand_columns(to, f.w_hh + (h * f.H + unit) * f.P, units, f.P);
      }
    }
  }

  /// What is added to sum s of some hidden units, and zeros up to the width.
  static void put_bias(const Layer<Store>& f, float* to, int s, int64_t unit, int64_t units, int64_t width) {
    const int x = Cell::x_gate[s], h = Cell::h_gate[s];
    for (int64_t j = 0; j < width; j += kLanes<float>) {
      const int64_t count = least(kLanes<float>, units - j);
      Vec<float> sum = {};
      if (count > 0 && f.b_ih && x >= 0) sum += load_some(f.b_ih + x * f.H + unit + j, count);
      if (count > 0 && f.b_hh && h >= 0) sum += load_some(f.b_hh + h * f.H + unit + j, count);
      store(to + j, sum);
    }
  }

  /// The rows [0, rows) of the next step's input. They are made operands as soon as this step's rows are finished,
  /// while the processor waits for other things.
  struct Coming {
    int64_t rows = 0;
    const Store* const* input = nullptr;  // of this step
    int64_t distance = 0, further = 0;    // from there to the next step's, and from that to the one behind it, or 0
    Operand* const* x = nullptr;

    RNNFAST_INLINE void take(int64_t row, int64_t size) const {
      const Store* from = input[row] + distance;
      for (int64_t i = 0; further && i < size; i += kLine<Store>) fetch(from + further + i);
      convert(x[row], from, size);
    }
  };

  /// From x_t, h_(t-1) and c_(t-1) to h_t and c_t, for some rows and some panels of hidden units.
  struct Tile {
    typedef float Element;
    static constexpr int64_t kSums = S;
    const Layer<Store>& f;
    const float* weights;
    int64_t rows;
    const float* const* xh;      // x_t, then h_(t-1), as operands
    const float* const* only_h;  // h_(t-1) alone, likewise
    const Store* const* h;       // h_(t-1)
    float* const* c;             // c_(t-1), and then c_t
    Store* const* y;             // h_t; null if there is a projection
    Operand* const* after;       // h_t, or with a projection what it projects, as operands
    Store* const* saved;         // null: not wanted
    Store* const* cells;         // c_t; null: not wanted
    Coming coming = {};
    bool falling = false;  // the panels in falling order, if they come from afar
    bool streams = false;  // `saved` goes past the caches

    bool far() const { return is_far<float>(cell_size(f)); }
    int64_t stripe() const { return S > 1 || far() ? kStripe : 1; }
    int64_t end() const { return rows; }
    bool backward() const { return falling; }
    int64_t steps() const { return (unit_size(f) - S) / kDepth; }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t unit) const {
      constexpr int64_t width = kWidth<P, V, float>, gap = kStripe * M * width;
      alignas(64) float sums[S * gap];
      NoWork none;
      multiply<M, P, V>(sums, gap, row, blocks, unit, none);
      for (int64_t m = 0; m < least(blocks * M, rows - row); ++m)
        finish_row(sums + m * width, gap, width, row + m, unit);
    }

    /// The sums of some blocks of M rows, those of one kind `gap` numbers behind those of the one before.
    template <int M, int P, int V, typename Work>
    RNNFAST_INLINE void multiply(float* sums, int64_t gap, int64_t row, int64_t blocks, int64_t unit,
                                 Work& work) const {
      const int64_t stride = unit_size(f) * kPanel<float>;
      const float* panel = weights + unit * unit_size(f);
      for (int s = 0; s < S; ++s, sums += gap) {
        const bool from_x = Cell::x_gate[s] >= 0, from_h = Cell::h_gate[s] >= 0;
        const int64_t depth = from_x * words_for(f.I) + from_h * words_for(f.P);
        const float *const bias = panel, *const *from = (from_x ? xh : only_h) + row;
        panel += V * kLanes<float>;
        if constexpr (kTiles)
          add_tiles<M, P, V, true>(sums, bias, stride, from[0], row_size(f), depth, panel, stride, work);
        else
          add_product<M, P, V, true>(sums, bias, stride, from, blocks, depth, panel, stride, far());
        panel += depth * V * kLanes<float>;
      }
    }

    /// The same for a panel of hidden units, with the weights where they stand.
    void run_direct(int64_t unit) const {
      constexpr int64_t width = kPanel<float>;
      const int64_t units = least(width, f.H - unit);
      alignas(64) float sums[S][kDirect * width];
      for (int s = 0; s < S; ++s) {
        const int x_gate = Cell::x_gate[s], h_gate = Cell::h_gate[s];
        for (int64_t m = 0; m < rows; ++m) put_bias(f, sums[s] + m * width, s, unit, units, width);
        if (x_gate >= 0) add_operand_dots(sums[s], width, f.w_ih + (x_gate * f.H + unit) * f.I, units, xh, rows, f.I);
        if (h_gate >= 0)
          add_operand_dots(sums[s], width, f.w_hh + (h_gate * f.H + unit) * f.P, units, only_h, rows, f.P);
      }
      for (int64_t m = 0; m < rows; ++m) finish_row(sums[0] + m * width, kDirect * width, width, m, unit);
    }

    /// From the sums of a row, `gap` apart, to h_t and c_t of `width` hidden units from `first` on, or as many as there
    /// are.
    RNNFAST_INLINE void finish_row(const float* sums, int64_t gap, int64_t width, int64_t row, int64_t first) const {
      constexpr int64_t lanes = kLanes<float>;
      const Row at = row_at(row);
      const int64_t units = least(width, f.H - first);
      int64_t j = 0;
      for (; j + 2 * lanes <= units; j += 2 * lanes) finish_some<2, true>(sums + j, gap, at, first + j, lanes);
      for (; j + lanes <= units; j += lanes) finish_some<1, true>(sums + j, gap, at, first + j, lanes);
      if (j < units) finish_some<1, false>(sums + j, gap, at, first + j, units - j);
      if (first == 0 && row < coming.rows) coming.take(row, f.I);
    }

    /// What belongs to a row.
    struct Row {
      const Store* h;
      float* c;
      Store* y;
      Operand* after;
      Store *saved, *cells;
    };

    RNNFAST_INLINE Row row_at(int64_t r) const {
      return {Cell::mixes_h ? h[r] : nullptr,      Cell::has_c ? c[r] : nullptr, y ? y[r] : nullptr, after[r],
              R > 0 && saved ? saved[r] : nullptr, cells ? cells[r] : nullptr};
    }

    /// The same for W vectors of hidden units from `unit` on; of the last one `count` units.
    template <int W, bool whole>
    RNNFAST_INLINE void finish_some(const float* sums, int64_t gap, const Row& at, int64_t unit, int64_t count) const {
      Vec<float> now[W], cell[W] = {}, kept[kSaved][W];
      RNNFAST_UNROLL
      for (int w = 0; w < W; ++w) {
        Vec<float> z[S], before = {}, keep[kSaved];
        const int64_t next = w * kLanes<float>;
        for (int s = 0; s < S; ++s) z[s] = load(sums + s * gap + next);
        if (Cell::mixes_h) before = load_some<whole>(at.h + unit + next, count);
        if (Cell::has_c) cell[w] = load_some<whole>(at.c + unit + next, count);
        now[w] = Cell::forward(z, before, cell[w], keep);
        for (int k = 0; k < kSaved; ++k) kept[k][w] = keep[k];
      }
      if (at.y) store_all<whole>(at.y + unit, now, count);
      store_all<whole>(at.after + unit, now, count);
      if (Cell::has_c) store_all<whole>(at.c + unit, cell, count);
      if (Cell::has_c && at.cells) store_all<whole>(at.cells + unit, cell, count);
      if (R == 0 || !at.saved) return;
      if constexpr (W == 2 && sizeof(Store) == sizeof(BFloat16)) {
        if (streams) {
          for (int64_t k = 0; k < R; ++k) stream(at.saved + k * f.H + unit, narrowed(kept[k][0], kept[k][1]));
          return;
        }
      }
      for (int64_t k = 0; k < R; ++k) store_all<whole>(at.saved + k * f.H + unit, kept[k], count);
    }
  };

  /// Runs a tile over all hidden units.
  static void run_tile(Member* member, const Tile& tile) {
    if (!is_direct(tile.f)) return cover(member, tile, 0, tile.rows, tile.f.H);
    share(member, divide_up(tile.f.H, kPanel<float>), [&](int64_t panel) { tile.run_direct(panel * kPanel<float>); });
  }

  /// Whether the reserve should go past the caches: it would leave them anyway before the backward pass, and where
  /// products take so little time, reading it into them first is what a step waits for. By whole lines of the cache.
  static bool may_stream(const Forward<Store>& f) {
    constexpr int64_t line = kLine<Store>;
    const Sequence<Store>& to = f.reserve;
    return kTiles && to.data && is_far<Store>(f.T * f.N * R * f.H) && f.H % line == 0 && to.row_stride % line == 0 &&
           (to.first_row || to.time_stride % line == 0) &&
           reinterpret_cast<uintptr_t>(to.data) % sizeof(Vec<float>) == 0;
  }

  /// The operands of a row: x_t, then h_(t-1); two of them in turn, so that a step never overwrites what it reads.
  static int64_t row_size(const Layer<Store>& f) { return spread(words_for(f.I) + words_for(f.P)); }

  static int64_t scratch_size(const Layer<Store>& f) {
    const int64_t cells = Cell::has_c ? padded<float>(f.H) : 0, wide = f.w_hr ? words_for(f.H) : 0;
    return kGroupRows * (2 * row_size(f) + wide + cells);
  }

  static const char* run(const Forward<Store>& f, const float* weights, const RowGroup& rows, float* scratch,
                         Member* member) {
    TileUnit unit(rows.size);
    const int64_t x_words = words_for(f.I);
    const float *xh[2][kGroupRows], *only_h[2][kGroupRows], *wide_words[kGroupRows];
    Operand *x[2][kGroupRows], *h_of[2][kGroupRows], *wide[kGroupRows];
    const Store *input[kGroupRows], *h[kGroupRows], *h0[kGroupRows], *c0[kGroupRows];
    Store *y[kGroupRows], *saved[kGroupRows], *cells[kGroupRows];
    float* c[kGroupRows];
    float* at = scratch;
    for (int turn = 0; turn < 2; ++turn)
      for (int64_t r = 0; r < kGroupRows; ++r, at += row_size(f)) {
        xh[turn][r] = at;
        only_h[turn][r] = at + x_words;
        x[turn][r] = reinterpret_cast<Operand*>(at);
        h_of[turn][r] = reinterpret_cast<Operand*>(at + x_words);
      }
    for (int64_t r = 0; f.w_hr && r < kGroupRows; ++r, at += words_for(f.H)) {
      wide_words[r] = at;
      wide[r] = reinterpret_cast<Operand*>(at);
    }
    for (int64_t r = 0; Cell::has_c && r < rows.size; ++r) c[r] = at + r * padded<float>(f.H);
    place(h0, f.h0, f.P, rows, 0, rows.size);
    place(c0, f.c0, f.H, rows, 0, rows.size);
    share(member, rows.size, [&](int64_t r) {
      for (int turn = 0; turn < 2; ++turn) {
        fill(x[turn][r], f.I);
        fill(h_of[turn][r], f.P);
      }
      if (f.w_hr) fill(wide[r], f.H);
      if constexpr (Cell::has_c) convert(c[r], c0[r], f.H);
    });
    const bool streams = may_stream(f);
    const int64_t last = rows.length[0];
    int64_t shaped = rows.size;  // the rows that the registers were made for
    int64_t taken = 0;           // those whose x_t was made an operand during the step before
    int turn = 0;
    for_steps(rows, f.reverse, [&](const Step& step) {
      if (step.active != shaped) unit.shape(shaped = step.active);
      for (int64_t r = 0; r < step.linked; ++r) h[r] = y[r];
      place(h, f.h0, f.P, rows, step.linked, step.active);
      place(input, f.input, step.t, rows, step.active);
      place(y, f.output, step.t, rows, step.active);
      place(saved, f.reserve, step.t, rows, step.active);
      place(cells, f.cells, step.t, rows, step.active);
      const int64_t t_next = step.t + (f.reverse ? -1 : 1), t_further = t_next + (f.reverse ? -1 : 1);
      const Coming coming{step.going_on, input, ahead(f.input, step.t, t_next, step.going_on > 0),
                          ahead(f.input, t_next, t_further, f.reverse ? t_further >= 0 : t_further < last),
                          x[1 - turn]};
      share(member, step.active, [&](int64_t r) {
        if (r >= taken) convert(x[turn][r], input[r], f.I);
        if (r >= step.linked) convert(h_of[turn][r], h0[r], f.P);
      });
      taken = step.going_on;
      Operand* const* after = h_of[1 - turn];
      run_tile(member,
               {f, weights, step.active, xh[turn], only_h[turn], h, c, f.w_hr ? nullptr : y, f.w_hr ? wide : after,
                f.reserve.data ? saved : nullptr, f.cells.data ? cells : nullptr, coming, turn == 1, streams});
      if (f.w_hr) {
        const OperandProduct<Store, float> projection{
            wide_words, weights + cell_size(f), words_for(f.H), f.P, step.active, y, nullptr, nullptr, after};
        cover(member, projection, 0, step.active, f.P);
      }
      if (step.going_on < step.active)
        share(member, step.active - step.going_on, [&](int64_t i) {
          const int64_t r = step.going_on + i;
          __builtin_memcpy(f.h_n + rows.index[r] * f.P, y[r], f.P * sizeof(Store));
          if constexpr (Cell::has_c) convert(f.c_n + rows.index[r] * f.H, c[r], f.H);
        });
      turn = 1 - turn;
    });
    share(member, rows.size, [&](int64_t r) {
      clear_padding(f.output, f.T, f.P, rows, r);
      if (f.reserve.data) clear_padding(f.reserve, f.T, R * f.H, rows, r);
      if (f.cells.data) clear_padding(f.cells, f.T, f.H, rows, r);
    });
    if (streams) streamed();
    return kName;
  }
};
