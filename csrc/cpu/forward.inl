// The forward pass of one cell over one group of batch rows.
//
// Weights: for each panel of hidden units, and for each sum in turn, the bias [width], then [I][width] of w_ih and
// [P][width] of w_hh if the sum has them. Behind all of it panels of [H][width] of w_hr, if there is one.

template <typename Cell, typename Real>
struct ForwardPass {
  static constexpr int64_t S = Cell::sums, R = Cell::saved;
  static constexpr int kSaved = R > 0 ? R : 1;

  /// How many of the sums [0, end) have a gate.
  static constexpr int64_t count_of(const int (&gate)[S], int end = S) {
    int64_t count = 0;
    for (int s = 0; s < end; ++s) count += gate[s] >= 0;
    return count;
  }

  /// Packed numbers of one hidden unit.
  static int64_t unit_size(const Layer<Real>& f) {
    return S + count_of(Cell::x_gate) * f.I + count_of(Cell::h_gate) * f.P;
  }

  static int64_t cell_size(const Layer<Real>& f) { return padded<Real>(f.H) * unit_size(f); }

  static int64_t weights_size(const Layer<Real>& f) {
    return is_direct(f) ? 0 : cell_size(f) + (f.w_hr ? padded<Real>(f.P) * f.H : 0);
  }

  /// Whether the weights are multiplied where they stand.
  static bool is_direct(const Layer<Real>& f) { return !f.packed && are_few(f.T, f.N) && !f.w_hr; }

  /// Whether the input goes through its weights once for the whole call: they are packed a part at a time, used and
  /// forgotten. Of a single step that holds for all weights.
  static bool makes_once(const Layer<Real>& f) {
    return f.once && !f.packed && !is_direct(f) && f.I >= (f.T == 1 ? 1 : kLanes<Real>);
  }

  /// The part-th of so many parts, which may be packed at the same time.
  static void pack(const Layer<Real>& f, Real* weights, int64_t part, int64_t parts) {
    if (is_direct(f)) return;
    pack_cell(f, weights, part, parts);
    for (int64_t unit = part * kPanel<Real>; f.w_hr && unit < f.P; unit += parts * kPanel<Real>)
      pack_columns(weights + cell_size(f) + unit * f.H, f.w_hr + unit * f.H, least(kPanel<Real>, f.P - unit), f.H);
  }

  /// The same for all but w_hr.
  static void pack_cell(const Layer<Real>& f, Real* weights, int64_t part, int64_t parts) {
    if (makes_once(f) && f.T == 1) return;
    for (int64_t unit = part * kPanel<Real>; unit < f.H; unit += parts * kPanel<Real>) {
      const int64_t units = least(kPanel<Real>, f.H - unit), width = panel_width<Real>(units);
      Real* to = weights + unit * unit_size(f);
      for (int s = 0; s < S; ++s) {
        const int x = Cell::x_gate[s], h = Cell::h_gate[s];
        for (int64_t j = 0; j < width; ++j) to[j] = j < units ? bias_of(f, s, unit + j) : Real(0);
        to += width;
        if (x >= 0 && makes_once(f))
          to += f.I * width;
        else if (x >= 0)
          to = pack_columns(to, f.w_ih + (x * f.H + unit) * f.I, units, f.I);
        if (h >= 0) to = pack_columns(to, f.w_hh + (h * f.H + unit) * f.P, units, f.P);
      }
    }
  }

  /// What is added to sum s of a hidden unit.
  static Real bias_of(const Layer<Real>& f, int s, int64_t unit) {
    const int x = Cell::x_gate[s], h = Cell::h_gate[s];
    return (f.b_ih && x >= 0 ? f.b_ih[x * f.H + unit] : 0) + (f.b_hh && h >= 0 ? f.b_hh[h * f.H + unit] : 0);
  }

  /// Where the packed weights of sum s stand, for the `width` hidden units from `unit` on.
  struct Panels {
    const Real *bias, *x, *h;

    Panels(const Layer<Real>& f, const Real* weights, int64_t unit, int64_t width, int s) {
      const int64_t depth = s + count_of(Cell::x_gate, s) * f.I + count_of(Cell::h_gate, s) * f.P;
      bias = weights + unit * unit_size(f) + depth * width;
      x = bias + width;
      h = x + (Cell::x_gate[s] >= 0 ? f.I * width : 0);
    }
  };

  /// Sums of one row that are made ahead of its time step: [S][padded H].
  static int64_t ahead_size(const Layer<Real>& f) { return S * padded<Real>(f.H); }

  /// The parts of the sums that come from x_t and the biases, for some rows of whatever time steps.
  struct InputTile {
    typedef Real Element;
    const Layer<Real>& f;
    const Real* weights;
    const Real* const* x;
    Real* sums;  // of one row after another

    bool far() const { return is_far<Real>(cell_size(f)); }
    int64_t stripe() const { return kStripe; }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t unit) const {
      constexpr int64_t width = kWidth<P, V, Real>;
      alignas(64) Real memory[kStripe * M * width];
      for (int s = 0; s < S; ++s) {
        if (Cell::x_gate[s] < 0) continue;
        const Panels panels(f, weights, unit, V * kLanes<Real>, s);
        add_product<M, P, V, true>(memory, panels.bias, unit_size(f) * kPanel<Real>, x + row, blocks, f.I, panels.x,
                                   unit_size(f) * kPanel<Real>, far());
        for (int64_t m = 0; m < blocks * M; ++m)
          __builtin_memcpy(sums + (row + m) * ahead_size(f) + s * padded<Real>(f.H) + unit, memory + m * width,
                           sizeof(Real) * width);
      }
    }
  };

  /// The products of some rows with a part of one panel: of the depth [first, first + depth).
  struct PartTile {
    typedef Real Element;
    const Real* begin;  // what they are added to, of each row; null: the sums
    const Real* const* rows;
    int64_t first, depth;
    const Real* panel;
    Real* sums;  // [rows][width of the panel]

    bool far() const { return false; }
    int64_t stripe() const { return kStripe; }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t) const {
      for (int64_t block = 0; block < blocks; ++block, row += M) {
        Real* const to = sums + row * kWidth<P, V, Real>;
        if (begin)
          add_chain<M, P, V, 1, true>(to, begin, 0, rows + row, first, depth, panel, 0);
        else
          add_chain<M, P, V, 1, false>(to, begin, 0, rows + row, first, depth, panel, 0);
      }
    }
  };

  /// The parts of the sums that come from x_t and the biases, for all vectors of the call; of a single step, all sums.
  static void make_once(Member* member, const Layer<Real>& f, const Real* const* x, const Real* const* h, int64_t rows,
                        Real* sums) {
    share(member, divide_up(f.H, kPanel<Real>), [&](int64_t panel) {
      const int64_t unit = panel * kPanel<Real>, units = least(kPanel<Real>, f.H - unit);
      const int64_t width = panel_width<Real>(units);
      alignas(64) Real bias[kPanel<Real>], part[kChain * kPanel<Real>], made[kGroupRows * kPanel<Real>];
      for (int s = 0; s < S; ++s) {
        const int x_gate = Cell::x_gate[s], h_gate = Cell::h_gate[s];
        const Factor<Real> factors[] = {{f.w_ih + (x_gate * f.H + unit) * f.I, x_gate >= 0 ? x : nullptr, f.I},
                                        {f.w_hh + (h_gate * f.H + unit) * f.P, h_gate >= 0 ? h : nullptr, f.P}};
        for (int64_t j = 0; j < width; ++j) bias[j] = j < units ? bias_of(f, s, unit + j) : Real(0);
        const Real* begin = bias;
        for (const Factor<Real>& factor : factors)
          for (int64_t first = 0; factor.rows && first < factor.depth; first += kChain) {
            const int64_t depth = least(kChain, factor.depth - first);
            pack_columns(part, factor.weights + first, units, depth, factor.depth);
            cover_columns(PartTile{begin, factor.rows, first, depth, part, made}, 0, rows, 0, units);
            begin = nullptr;
          }
        for (int64_t m = 0; !begin && m < rows; ++m)
          __builtin_memcpy(sums + m * ahead_size(f) + s * padded<Real>(f.H) + unit, made + m * width,
                           width * sizeof(Real));
      }
    });
  }

  /// From x_t, h_(t-1) and c_(t-1) to h_t and c_t, for some rows and some panels of hidden units.
  struct Tile {
    typedef Real Element;
    const Layer<Real>& f;
    const Real* weights;
    const Real* const* x;
    const Real* const* h;
    const Real* const* c_before;
    Real* const* c;              // c_t; may be the same memory
    Real* const* y;              // h_t, before the projection if there is one
    Real* const* saved;          // null: not wanted
    const Real* made = nullptr;  // what InputTile or make_once made for these rows; null: nothing
    bool all_made = false;       // that is all of the sums
    int64_t x_ahead = 0, y_ahead = 0;

    bool far() const { return is_far<Real>(cell_size(f)); }
    // Of several gates the panels together would leave the L1 cache, so all blocks go through those of one gate first.
    int64_t stripe() const { return S > 1 || far() ? kStripe : 1; }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t unit) const {
      const int64_t stride = unit_size(f) * kPanel<Real>;
      alignas(64) Real memory[S][kStripe * M * kWidth<P, V, Real>];
      const Real* sums[S];
      for (int s = 0; s < S; ++s) {
        const bool from_x = Cell::x_gate[s] >= 0, from_h = Cell::h_gate[s] >= 0;
        const Panels w(f, weights, unit, V * kLanes<Real>, s);
        if (made && (from_x || all_made)) {
          for (int64_t m = 0; m < blocks * M; ++m)
            __builtin_memcpy(memory[s] + m * kWidth<P, V, Real>,
                             made + (row + m) * ahead_size(f) + s * padded<Real>(f.H) + unit,
                             sizeof(Real) * kWidth<P, V, Real>);
        } else if (from_x) {
          add_product<M, P, V, true>(memory[s], w.bias, stride, x + row, blocks, f.I, w.x, stride, far());
        }
        if (from_x && from_h && !all_made)
          add_product<M, P, V, false>(memory[s], w.bias, stride, h + row, blocks, f.P, w.h, stride, far());
        else if (from_h && !all_made)
          add_product<M, P, V, true>(memory[s], w.bias, stride, h + row, blocks, f.P, w.h, stride, far());
        sums[s] = memory[s];
      }
      const int64_t width = least(kWidth<P, V, Real>, f.H - unit);
      if (width % kLanes<Real> == 0)
        finish<true>(sums, kWidth<P, V, Real>, row, blocks * M, unit, width);
      else
        finish<false>(sums, kWidth<P, V, Real>, row, blocks * M, unit, width);
    }

    /// The same for a panel of hidden units, with the weights where they stand.
    void run_direct(int64_t rows, int64_t unit) const {
      constexpr int64_t width = kPanel<Real>;
      const int64_t units = least(width, f.H - unit);
      alignas(64) Real memory[S][kFewVectors * width];
      const Real* sums[S];
      for (int s = 0; s < S; ++s) {
        const int x_gate = Cell::x_gate[s], h_gate = Cell::h_gate[s];
        for (int64_t j = 0; j < width; ++j) memory[s][j] = j < units ? bias_of(f, s, unit + j) : Real(0);
        for (int64_t m = 1; m < rows; ++m) __builtin_memcpy(memory[s] + m * width, memory[s], width * sizeof(Real));
        const Factor<Real> factors[] = {{f.w_ih + (x_gate * f.H + unit) * f.I, x_gate >= 0 ? x : nullptr, f.I},
                                        {f.w_hh + (h_gate * f.H + unit) * f.P, h_gate >= 0 ? h : nullptr, f.P}};
        add_dots_of(rows, memory[s], width, factors, units);
        sums[s] = memory[s];
      }
      finish<false>(sums, width, 0, rows, unit, units);
    }

    /// From the sums, `stride` apart for each row, to h_t and c_t of `width` hidden units from `first` on. whole: they
    /// fill their vectors.
    template <bool whole>
    void finish(const Real* const (&sums)[S], int64_t stride, int64_t row, int64_t rows, int64_t first,
                int64_t width) const {
      for (int64_t m = 0; m < rows; ++m)
        for (int64_t j = 0; j < width; j += kLanes<Real>) {
          const int64_t unit = first + j, count = least(kLanes<Real>, width - j);
          Vec<Real> z[S], before = {}, cell = {}, kept[kSaved];
          for (int s = 0; s < S; ++s) z[s] = load(sums[s] + m * stride + j);
          if (Cell::mixes_h) before = load_some<whole>(h[row + m] + unit, count);
          if (Cell::has_c) cell = load_some<whole>(c_before[row + m] + unit, count);
          fetch_to_write(y[row + m] + y_ahead + unit);
          if (unit < f.I) fetch(x[row + m] + x_ahead + unit);
          store_some<whole>(y[row + m] + unit, Cell::forward(z, before, cell, kept), count);
          if (Cell::has_c) store_some<whole>(c[row + m] + unit, cell, count);
          if (R > 0 && saved)
            for (int64_t k = 0; k < R; ++k) store_some<whole>(saved[row + m] + k * f.H + unit, kept[k], count);
        }
    }
  };

  /// Runs a tile over all hidden units of some rows.
  static void run_tile(Member* member, const Tile& tile, int64_t rows) {
    if (!is_direct(tile.f)) return cover(member, tile, 0, rows, tile.f.H);
    share(member, divide_up(tile.f.H, kPanel<Real>),
          [&](int64_t panel) { tile.run_direct(rows, panel * kPanel<Real>); });
  }

  /// For the hidden states before their projection, and for sums made ahead.
  static int64_t scratch_size(const Layer<Real>& f) {
    return kGroupRows * ((f.w_hr ? padded<Real>(f.H) : 0) + (makes_ahead(f) || makes_once(f) ? ahead_size(f) : 0));
  }

  /// A step of few rows has few sums for each weight, which comes from the L2 cache every time; so its input goes
  /// through the weights together with that of many other steps. Weights from beyond the L2 cache are worth it for more
  /// rows, as long as the weights of the input outweigh the sums that wait. Not worth it for a narrow input.
  static int64_t few_rows(const Layer<Real>& f) {
    return is_far<Real>(cell_size(f)) ? least(kGroupRows / 2, f.I / 2) : kTileRows / 2;
  }

  static bool makes_ahead(const Layer<Real>& f) { return f.T > 1 && f.I >= kLanes<Real> && !is_direct(f); }

  /// Makes the input's part of the sums for this step and those after it, while they have few rows or all of them are
  /// made once; returns the number of rows made.
  static int64_t make_ahead(Member* member, const Layer<Real>& f, const Real* weights, const RowGroup& rows,
                            const Step& step, const Real* const* h, Real* sums) {
    const Real* x[kGroupRows];
    int64_t made = 0;
    for (int64_t t = step.t; t >= 0 && t < rows.length[0]; t += f.reverse ? -1 : 1) {
      const int64_t active = rows_at(rows, t);
      if (!makes_once(f) && (active > few_rows(f) || made + active > kGroupRows)) break;
      place(x + made, f.input, t, rows, active);
      made += active;
    }
    if (makes_once(f))
      make_once(member, f, x, f.T == 1 ? h : nullptr, made, sums);
    else
      cover(member, InputTile{f, weights, x, sums}, 0, made, f.H);
    return made;
  }

  static const char* run(const Forward<Real>& f, const Real* weights, const RowGroup& rows, Real* scratch,
                         Member* member) {
    const Real *x[kGroupRows], *h[kGroupRows], *c_before[kGroupRows];
    Real *y[kGroupRows], *c[kGroupRows], *wide[kGroupRows], *saved[kGroupRows];
    for (int64_t r = 0; r < rows.size; ++r) wide[r] = scratch + r * f.H;
    Real* const sums = scratch + (f.w_hr ? kGroupRows * padded<Real>(f.H) : 0);
    int64_t used = 0, made = 0;  // rows of the sums
    place(c, f.c_n, f.H, rows, 0, rows.size);
    for_steps(rows, f.reverse, [&](const Step& step) {
      for (int64_t r = 0; r < step.linked; ++r) {
        h[r] = y[r];
        c_before[r] = c[r];
      }
      place(h, f.h0, f.P, rows, step.linked, step.active);
      place(c_before, f.c0, f.H, rows, step.linked, step.active);
      place(x, f.input, step.t, rows, step.active);
      place(y, f.output, step.t, rows, step.active);
      place(c, f.cells, step.t, rows, step.active);
      place(saved, f.reserve, step.t, rows, step.active);
      Tile tile{f, weights, x, h, c_before, c, f.w_hr ? wide : y, f.reserve.data ? saved : nullptr};
      if (makes_once(f) || (makes_ahead(f) && step.active <= few_rows(f))) {
        if (used == made) {
          made = make_ahead(member, f, weights, rows, step, h, sums);
          used = 0;
        }
        tile.made = sums + used * ahead_size(f);
        tile.all_made = makes_once(f) && f.T == 1;
        used += step.active;
      }
      const int64_t next = step.t + (f.reverse ? -1 : 1);
      tile.x_ahead = ahead(f.input, step.t, next, step.going_on > 0);
      if (!f.w_hr) tile.y_ahead = ahead(f.output, step.t, next, step.going_on > 0);
      run_tile(member, tile, step.active);
      if (f.w_hr) cover(member, ProductTile<Real>{wide, weights + cell_size(f), f.H, f.P, y}, 0, step.active, f.P);
      if (step.going_on < step.active)
        share(member, step.active - step.going_on, [&](int64_t i) {
          const int64_t r = step.going_on + i;
          if (f.h_n) __builtin_memcpy(f.h_n + rows.index[r] * f.P, y[r], f.P * sizeof(Real));
          if (f.cells.data) __builtin_memcpy(f.c_n + rows.index[r] * f.H, c[r], f.H * sizeof(Real));
        });
    });
    share(member, rows.size, [&](int64_t r) {
      clear_padding(f.output, f.T, f.P, rows, r);
      if (f.reserve.data) clear_padding(f.reserve, f.T, R * f.H, rows, r);
      if (f.cells.data) clear_padding(f.cells, f.T, f.H, rows, r);
    });
    return kName;
  }
};
