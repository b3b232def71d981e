// The loop over time, forward and backward, of one group of batch rows.
//
// The rows are ordered longest first, so the rows that have a vector at time step t are the first few: nothing is
// computed for padding, and no step waits for another thread. Letters and layouts as in cpu/layer.h.

/// The number of rows that are longer than t.
inline int64_t rows_at(const RowGroup& rows, int64_t t) {
  int64_t count = rows.size;
  while (count > 0 && rows.length[count - 1] <= t) --count;
  return count;
}

/// One time step of a sweep. Of the rows [0, active), the first `linked` were also in the step handled before this one,
/// and the first `going_on` will be in the one handled after it.
struct Step {
  int64_t t, active, linked, going_on;
};

/// Calls each(step) over the group's time steps, from the first to the last or the other way round.
template <typename Each>
RNNFAST_INLINE void for_steps(const RowGroup& rows, bool falling, const Each& each) {
  const int64_t steps = rows.length[0];
  int64_t before = 0;
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t t = falling ? steps - 1 - s : s, active = rows_at(rows, t);
    const int64_t after = s == steps - 1 ? 0 : rows_at(rows, falling ? t - 1 : t + 1);
    each(Step{t, active, least(before, active), least(after, active)});
    before = active;
  }
}

/// Points to what belongs to the rows [first, end) of the group, `stride` apart for neighbours in the batch.
template <typename Pointer>
void place(Pointer* to, Pointer from, int64_t stride, const RowGroup& rows, int64_t first, int64_t end) {
  for (int64_t r = first; r < end; ++r) to[r] = from + rows.index[r] * stride;
}

/// Points to the vectors of a sequence at time step t, if there is such a sequence.
template <typename Pointer, typename Real>
void place(Pointer* to, const Sequence<Real>& sequence, int64_t t, const RowGroup& rows, int64_t end) {
  if (sequence.data) place<Pointer>(to, sequence.at(t), sequence.row_stride, rows, 0, end);
}

/// How far behind a vector of time step t that of the same row at time step `next` stands; 0 if there is none. Each
/// vector is fetched while the step before it is computed, since a row is too short for the processor to see it coming.
template <typename Real>
int64_t ahead(const Sequence<Real>& sequence, int64_t t, int64_t next, bool exists) {
  return sequence.data && exists ? sequence.at(next) - sequence.at(t) : 0;
}

RNNFAST_INLINE void fetch(const void* address) { __builtin_prefetch(address, 0, 2); }
RNNFAST_INLINE void fetch_to_write(const void* address) { __builtin_prefetch(address, 1, 2); }

/// Writes zeros past the length of the group's row r.
template <typename Real>
void clear_padding(const Sequence<Real>& sequence, int64_t T, int64_t width, const RowGroup& rows, int64_t r) {
  if (sequence.first_row) return;  // packed: there is no padding
  for (int64_t t = rows.length[r]; t < T; ++t) __builtin_memset(sequence.at(t, rows.index[r]), 0, width * sizeof(Real));
}

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

/// sums[j] += the sum of column j over some rows, four by four and in short chains, for first <= j < end.
template <typename Real>
void add_columns(Real* sums, const Real* const* rows, int64_t count, int64_t first_column, int64_t end_column) {
  constexpr int64_t chain = 32;
  for (int64_t j = first_column; j < end_column; j += kLanes<Real>) {
    const int64_t lanes = least(kLanes<Real>, end_column - j);
    Vec<Real> total = {};
    for (int64_t first = 0; first < count; first += chain) {
      const int64_t end = least(count, first + chain);
      Vec<Real> sum = {};
      for (int64_t k = first; k < end; k += 4) {
        Vec<Real> four[4] = {};
        for (int64_t i = 0; i < least(4, end - k); ++i) four[i] = load_some(rows[k + i] + j, lanes);
        sum += (four[0] + four[1]) + (four[2] + four[3]);
      }
      total += sum;
    }
    store_some(sums + j, load_some(sums + j, lanes) + total, lanes);
  }
}

template <typename Cell, typename Real>
struct Sweep {
  static constexpr int64_t G = Cell::gates, S = Cell::sums, R = Cell::saved, D = Cell::slots;
  static constexpr int kSaved = R > 0 ? R : 1;

  /// How many of the sums [0, end) have a gate.
  static constexpr int64_t count_of(const int (&gate)[S], int end = S) {
    int64_t count = 0;
    for (int s = 0; s < end; ++s) count += gate[s] >= 0;
    return count;
  }

  // ---- forward ----
  // Weights: for each panel of hidden units, and for each sum in turn, the bias [width], then [I][width] of w_ih and
  // [P][width] of w_hh if the sum has them. Behind all of it panels of [H][width] of w_hr, if there is one.

  /// Packed numbers of one hidden unit.
  static int64_t forward_unit_size(const Layer<Real>& f) {
    return S + count_of(Cell::x_gate) * f.I + count_of(Cell::h_gate) * f.P;
  }

  static int64_t cell_size(const Layer<Real>& f) { return padded<Real>(f.H) * forward_unit_size(f); }

  static int64_t forward_weights_size(const Layer<Real>& f) {
    return is_direct(f) ? 0 : cell_size(f) + (f.w_hr ? padded<Real>(f.P) * f.H : 0);
  }

  static constexpr int64_t kDirect = 8;

  /// So few vectors that the weights are multiplied where they stand: packing them would take longer.
  static bool is_direct(const Layer<Real>& f) { return f.T * f.N <= kDirect && !f.w_hr; }

  /// The part-th of so many parts, which may be packed at the same time.
  static void pack_forward(const Layer<Real>& f, Real* weights, int64_t part, int64_t parts) {
    if (is_direct(f)) return;
    for (int64_t unit = part * kPanel<Real>; unit < f.H; unit += parts * kPanel<Real>) {
      const int64_t units = least(kPanel<Real>, f.H - unit), width = panel_width<Real>(units);
      Real* to = weights + unit * forward_unit_size(f);
      for (int s = 0; s < S; ++s) {
        const int x = Cell::x_gate[s], h = Cell::h_gate[s];
        for (int64_t j = 0; j < width; ++j) to[j] = j < units ? bias_of(f, s, unit + j) : Real(0);
        to += width;
        if (x >= 0) to = pack_columns(to, f.w_ih + (x * f.H + unit) * f.I, units, f.I);
        if (h >= 0) to = pack_columns(to, f.w_hh + (h * f.H + unit) * f.P, units, f.P);
      }
    }
    for (int64_t unit = part * kPanel<Real>; f.w_hr && unit < f.P; unit += parts * kPanel<Real>)
      pack_columns(weights + cell_size(f) + unit * f.H, f.w_hr + unit * f.H, least(kPanel<Real>, f.P - unit), f.H);
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
      bias = weights + unit * forward_unit_size(f) + depth * width;
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
        add_product<M, P, V, true>(memory, panels.bias, forward_unit_size(f) * kPanel<Real>, x + row, blocks, f.I,
                                   panels.x, forward_unit_size(f) * kPanel<Real>, far());
        for (int64_t m = 0; m < blocks * M; ++m)
          __builtin_memcpy(sums + (row + m) * ahead_size(f) + s * padded<Real>(f.H) + unit, memory + m * width,
                           sizeof(Real) * width);
      }
    }
  };

  /// From x_t, h_(t-1) and c_(t-1) to h_t and c_t, for some rows and some panels of hidden units.
  struct ForwardTile {
    typedef Real Element;
    const Layer<Real>& f;
    const Real* weights;
    const Real* const* x;
    const Real* const* h;
    const Real* const* c_before;
    Real* const* c;              // c_t; may be the same memory
    Real* const* y;              // h_t, before the projection if there is one
    Real* const* saved;          // null: not wanted
    const Real* made = nullptr;  // what InputTile made for these rows; null: nothing
    int64_t x_ahead = 0, y_ahead = 0;

    bool far() const { return is_far<Real>(cell_size(f)); }
    // Of several gates the panels together would leave the L1 cache, so all blocks go through those of one gate first.
    int64_t stripe() const { return S > 1 || far() ? kStripe : 1; }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t unit) const {
      const int64_t stride = forward_unit_size(f) * kPanel<Real>;
      alignas(64) Real memory[S][kStripe * M * kWidth<P, V, Real>];
      const Real* sums[S];
      for (int s = 0; s < S; ++s) {
        const bool from_x = Cell::x_gate[s] >= 0, from_h = Cell::h_gate[s] >= 0;
        const Panels w(f, weights, unit, V * kLanes<Real>, s);
        if (from_x && made) {
          for (int64_t m = 0; m < blocks * M; ++m)
            __builtin_memcpy(memory[s] + m * kWidth<P, V, Real>,
                             made + (row + m) * ahead_size(f) + s * padded<Real>(f.H) + unit,
                             sizeof(Real) * kWidth<P, V, Real>);
        } else if (from_x) {
          add_product<M, P, V, true>(memory[s], w.bias, stride, x + row, blocks, f.I, w.x, stride, far());
        }
        if (from_x && from_h)
          add_product<M, P, V, false>(memory[s], w.bias, stride, h + row, blocks, f.P, w.h, stride, far());
        else if (from_h)
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
      alignas(64) Real memory[S][kDirect * width];
      const Real* sums[S];
      for (int s = 0; s < S; ++s) {
        const int x_gate = Cell::x_gate[s], h_gate = Cell::h_gate[s];
        for (int64_t m = 0; m < rows; ++m)
          for (int64_t j = 0; j < width; ++j) memory[s][m * width + j] = j < units ? bias_of(f, s, unit + j) : Real(0);
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
  static void run_forward(Member* member, const ForwardTile& tile, int64_t rows) {
    if (!is_direct(tile.f)) return cover(member, tile, 0, rows, tile.f.H);
    share(member, divide_up(tile.f.H, kPanel<Real>),
          [&](int64_t panel) { tile.run_direct(rows, panel * kPanel<Real>); });
  }

  /// For the hidden states before their projection, and for sums made ahead.
  static int64_t forward_scratch_size(const Layer<Real>& f) {
    return kGroupRows * ((f.w_hr ? padded<Real>(f.H) : 0) + (makes_ahead(f) ? ahead_size(f) : 0));
  }

  /// A step of few rows has few sums for each weight, which comes from the L2 cache every time; so its input goes
  /// through the weights together with that of many other steps. Not worth it for a narrow input.
  static constexpr int64_t kFewRows = kTileRows / 2;

  static bool makes_ahead(const Layer<Real>& f) { return f.I >= kLanes<Real> && !is_direct(f); }

  /// Makes the input's part of the sums for this step and those after it, while they have few rows; returns
  /// the number of rows made.
  static int64_t make_ahead(Member* member, const Layer<Real>& f, const Real* weights, const RowGroup& rows,
                            const Step& step, Real* sums) {
    const Real* x[kGroupRows];
    int64_t made = 0;
    for (int64_t t = step.t; t >= 0 && t < rows.length[0]; t += f.reverse ? -1 : 1) {
      const int64_t active = rows_at(rows, t);
      if (active > kFewRows || made + active > kGroupRows) break;
      place(x + made, f.input, t, rows, active);
      made += active;
    }
    cover(member, InputTile{f, weights, x, sums}, 0, made, f.H);
    return made;
  }

  static const char* forward(const Forward<Real>& f, const Real* weights, const RowGroup& rows, Real* scratch,
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
      ForwardTile tile{f, weights, x, h, c_before, c, f.w_hr ? wide : y, f.reserve.data ? saved : nullptr};
      if (makes_ahead(f) && step.active <= kFewRows) {
        if (used == made) {
          made = make_ahead(member, f, weights, rows, step, sums);
          used = 0;
        }
        tile.made = sums + used * ahead_size(f);
        used += step.active;
      }
      const int64_t next = step.t + (f.reverse ? -1 : 1);
      tile.x_ahead = ahead(f.input, step.t, next, step.going_on > 0);
      if (!f.w_hr) tile.y_ahead = ahead(f.output, step.t, next, step.going_on > 0);
      run_forward(member, tile, step.active);
      if (f.w_hr) cover(member, ProductTile<Real>{wide, weights + cell_size(f), f.H, f.P, y}, 0, step.active, f.P);
      if (step.going_on < step.active)
        share(member, step.active - step.going_on, [&](int64_t i) {
          const int64_t r = step.going_on + i;
          __builtin_memcpy(f.h_n + rows.index[r] * f.P, y[r], f.P * sizeof(Real));
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

  // ---- backward ----
  // dz holds, for each row and time step, the gradients of the cell's sums, slot after slot of H; W_ih belongs to the
  // slots from x_slot on, W_hh to those from h_slot on. Weights: panels of [G*H][width] of w_hh, then of w_ih, both
  // with their rows in the order of the slots, then panels of [P][width] of w_hr.

  static int64_t hh_size(const Layer<Real>& b) { return padded<Real>(b.P) * G * b.H; }
  static int64_t ih_size(const Layer<Real>& b) { return padded<Real>(b.I) * G * b.H; }

  static int64_t hr_size(const Layer<Real>& b) { return b.w_hr ? padded<Real>(b.H) * b.P : 0; }

  static bool recomputes(const Backward<Real>& b) { return R > 0 && !b.reserve.data; }

  static int64_t backward_weights_size(const Backward<Real>& b) {
    return hh_size(b) + ih_size(b) + hr_size(b) + (recomputes(b) ? forward_weights_size(b) : 0);
  }

  /// The part-th of so many parts, which may be packed at the same time.
  static void pack_backward(const Backward<Real>& b, Real* weights, int64_t part, int64_t parts) {
    const auto pack = [&](Real* to, const Real* w, int64_t columns, int64_t gates, int64_t depth, const int* order) {
      for (int64_t first = part * kPanel<Real>; first < columns; first += parts * kPanel<Real>) {
        Real* at = to + first * gates * depth;
        for (int64_t k = 0; k < gates; ++k)
          at = pack_rows(at, w + order[k] * depth * columns + first, least(kPanel<Real>, columns - first), depth,
                         columns);
      }
    };
    constexpr int only[] = {0};
    pack(weights, b.w_hh, b.P, G, b.H, Cell::h_order);
    if (b.grad_input.data) pack(weights + hh_size(b), b.w_ih, b.I, G, b.H, Cell::x_order);
    weights += hh_size(b) + ih_size(b);
    if (b.w_hr) pack(weights, b.w_hr, b.H, 1, b.P, only);
    if (recomputes(b)) pack_forward(b, weights + hr_size(b), part, parts);
  }

  // Rows of dz that are gathered before they go into the weight gradients: enough for the tiles, few enough for the L2
  // cache. Room for three steps, so that a step never overwrites the one before it.
  static constexpr int64_t kChunkRows = 3 * kGroupRows;

  /// The gradient of a matrix, in the order in which the tiles add to it.
  struct MatrixGradient {
    Real* tiles;  // for each panel of columns [blocks][kTileRows][width]
    int64_t rows, columns;

    int64_t blocks() const { return divide_up(rows, kTileRows); }
    int64_t size() const { return padded<Real>(columns) * blocks() * kTileRows; }
    Real at(int64_t row, int64_t column) const {
      const int64_t first = column - column % kPanel<Real>, width = panel_width<Real>(columns - first);
      return tiles[first * blocks() * kTileRows + row * width + column - first];
    }
  };

  /// A thread's part of the weight gradients and its working memory, one array after another.
  struct Scratch {
    MatrixGradient w_ih, w_hh, w_hr;
    Real* slot_sums;  // [D*H], dz summed over rows and time, for the biases
    Real* dz;         // [kChunkRows][D*H]
    Real* wide;       // [kChunkRows][H], with a projection: the hidden state before it
    Real* dh;         // [kChunkRows][P], with a projection: the gradient of the hidden state behind it
    Real* blocks;   // [blocks][kChunkRows][kTileRows], the rows of a product in the order in which the tiles read them
    Real* columns;  // [panels][kChunkRows][kPanel], its columns, one panel a thread
    Real* again;    // [kGroupRows][(R+2)*H], what is made again: the reserve, and h_t and c_t beside it
    Real* end;

    Scratch(const Backward<Real>& b, bool team, Real* start) {
      const auto take = [&](int64_t size) {
        Real* taken = start;
        start += divide_up(size, kPanel<Real>) * kPanel<Real>;
        return taken;
      };
      w_ih = {nullptr, G * b.H, b.I};
      w_hh = {nullptr, G * b.H, b.P};
      w_hr = {nullptr, b.w_hr ? b.P : 0, b.H};
      w_ih.tiles = take(w_ih.size());
      w_hh.tiles = take(w_hh.size());
      w_hr.tiles = take(w_hr.size());
      slot_sums = take(D * b.H);
      dz = take(kChunkRows * D * b.H);
      wide = take(b.w_hr ? kChunkRows * b.H : 0);
      dh = take(b.w_hr ? kChunkRows * b.P : 0);
      blocks = take((w_ih.blocks() > w_hr.blocks() ? w_ih.blocks() : w_hr.blocks()) * kChunkRows * kTileRows);
      const int64_t widest = b.I > b.H ? b.I : b.H;
      columns = take(kChunkRows * (team ? divide_up(widest, kPanel<Real>) : 1) * kPanel<Real>);
      again = take(recomputes(b) ? kGroupRows * (R + 2) * b.H : 0);
      end = start;
    }
  };

  static int64_t backward_scratch_size(const Backward<Real>& b, bool team) {
    Real* start = nullptr;
    return Scratch(b, team, start).end - start;
  }

  /// The sums at the head of it.
  static int64_t backward_zeros(const Backward<Real>& b) {
    Real* start = nullptr;
    return Scratch(b, false, start).dz - start;
  }

  /// From the gradient of h_t and c_t to dz and the gradient of c_(t-1), for some rows and some panels of hidden units.
  struct BackwardTile {
    typedef Real Element;
    const Backward<Real>& b;
    bool begins;              // the rows have no later step
    const Real* const* from;  // what the gradient of h_t is a product of; null: zeros
    const Real* weights;
    int64_t depth;
    const Real* const* dy;      // null where it is zero
    const Real* const* dh_n;    // null where it is zero
    const Real* const* dc_n;    // null where it is zero
    Real* const* mix;           // in: its direct part from the later step; out: that for the step before
    Real* const* dc;            // in and out
    const Real* const* h;       // h_t
    const Real* const* before;  // h_(t-1)
    const Real* const* c_before;
    const Real* const* saved;
    Real* const* dz;
    Real* const* wide;  // h_t before the projection, made again; null without one
    int64_t dy_ahead = 0, saved_ahead = 0;

    bool far() const { return is_far<Real>(depth * b.H); }
    int64_t stripe() const { return far() ? kStripe : 1; }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t unit) const {
      alignas(64) Real sums[kStripe * M * kWidth<P, V, Real>];
      set_product<M, P, V>(sums, from ? from + row : nullptr, blocks, depth, weights + unit * depth, far());
      const int64_t width = least(kWidth<P, V, Real>, b.H - unit);
      if (width % kLanes<Real> == 0)
        finish<true>(sums, kWidth<P, V, Real>, row, blocks * M, unit, width);
      else
        finish<false>(sums, kWidth<P, V, Real>, row, blocks * M, unit, width);
    }

    /// From the sums, `stride` apart for each row, to dz of `width` hidden units from `first` on. whole: they fill
    /// their vectors.
    template <bool whole>
    void finish(const Real* sums, int64_t stride, int64_t row, int64_t rows, int64_t first, int64_t width) const {
      for (const int64_t end = row + rows; row < end; ++row, sums += stride)
        for (int64_t j = 0; j < width; j += kLanes<Real>) {
          const int64_t unit = first + j, count = least(kLanes<Real>, width - j);
          if (dy) fetch(dy[row] + dy_ahead + unit);
          if (R == 0) fetch(before[row] + unit);  // h_t of the next step
          for (int64_t k = 0; k < R; ++k) fetch(saved[row] + saved_ahead + k * b.H + unit);
          Vec<Real> dh = load(sums + j), cell = {}, later = {}, old = {}, old_c = {};
          Vec<Real> kept[kSaved], gradients[D];
          if (dy) dh += load_some<whole>(dy[row] + unit, count);
          if (dh_n) dh += load_some<whole>(dh_n[row] + unit, count);
          if (Cell::mixes_h) {
            if (!begins) dh += load_some<whole>(mix[row] + unit, count);
            old = load_some<whole>(before[row] + unit, count);
          }
          if (Cell::has_c) {
            if (!begins) cell = load_some<whole>(dc[row] + unit, count);
            if (dc_n) cell += load_some<whole>(dc_n[row] + unit, count);
            old_c = load_some<whole>(c_before[row] + unit, count);
          }
          for (int64_t k = 0; k < R; ++k) kept[k] = load_some<whole>(saved[row] + k * b.H + unit, count);
          const Vec<Real> now = R > 0 ? Vec<Real>{} : load_some<whole>(h[row] + unit, count);
          Cell::backward(dh, later, cell, now, old, old_c, kept, gradients);
          for (int64_t d = 0; d < D; ++d) store_some<whole>(dz[row] + d * b.H + unit, gradients[d], count);
          if (Cell::mixes_h) store_some<whole>(mix[row] + unit, later, count);
          if (Cell::has_c) store_some<whole>(dc[row] + unit, cell, count);
          if constexpr (Cell::has_c)
            if (wide) store_some<whole>(wide[row] + unit, Cell::output(kept), count);
        }
    }
  };

  /// Rows of dz beside the input and the state before them, waiting for `flush`.
  struct Chunk {
    const Real *dz_x[kChunkRows], *dz_h[kChunkRows];  // the slots of W_ih and those of W_hh
    const Real *x[kChunkRows], *h[kChunkRows];
    const Real *dh[kChunkRows], *wide[kChunkRows];  // with a projection
    Real* dx[kChunkRows];
    int64_t rows = 0;
  };

  /// grad[i][j] += sum over `count` rows of left[i] right[j], both `count` rows of their matrix.
  static void add_gradient(Member* member, const Scratch& scratch, const MatrixGradient& grad, const Real* const* left,
                           const Real* const* right, int64_t count) {
    constexpr int64_t some = 32;  // blocks that are packed at a time
    share(member, divide_up(grad.blocks(), some), [&](int64_t item) {
      pack_blocks(scratch, left, count, item * some * kTileRows, least(grad.rows, (item + 1) * some * kTileRows));
    });
    add_packed(member, scratch, grad, right, count);
  }

  /// Puts the columns [first, end) of the rows into scratch.blocks.
  static void pack_blocks(const Scratch& scratch, const Real* const* rows, int64_t count, int64_t first, int64_t end) {
    for (; first < end; first += kTileRows) {
      Real* to = scratch.blocks + first * kChunkRows;
      const int64_t size = least(kTileRows, end - first);
      if (size == kTileRows) {
        for (int64_t k = 0; k < count; ++k, to += kTileRows)
          __builtin_memcpy(to, rows[k] + first, kTileRows * sizeof(Real));
      } else {
        for (int64_t k = 0; k < count; ++k, to += kTileRows)
          for (int64_t m = 0; m < kTileRows; ++m) to[m] = m < size ? rows[k][first + m] : Real(0);
      }
    }
  }

  /// The same with the left side in scratch.blocks.
  static void add_packed(Member* member, const Scratch& scratch, const MatrixGradient& grad, const Real* const* right,
                         int64_t count) {
    share(member, divide_up(grad.columns, kPanel<Real>), [&](int64_t panel) {
      const int64_t first = panel * kPanel<Real>, columns = least(kPanel<Real>, grad.columns - first);
      const int64_t width = panel_width<Real>(columns);
      Real* packed = scratch.columns + (member ? panel * kChunkRows * kPanel<Real> : 0);
      gather_columns(packed, width, right, count, first, columns);
      Real* tiles = grad.tiles + first * grad.blocks() * kTileRows;
      if (width == kPanel<Real>)
        add_panel<kTileVectors>(scratch, packed, tiles, grad.blocks(), count);
      else if (width > kLanes<Real>)
        add_panel<kHalfPanelVectors>(scratch, packed, tiles, grad.blocks(), count);
      else
        add_panel<1>(scratch, packed, tiles, grad.blocks(), count);
    });
  }

  static void gather_columns(Real* to, int64_t width, const Real* const* rows, int64_t count, int64_t first,
                             int64_t columns) {
    for (int64_t k = 0; k < count; ++k, to += width)
      for (int64_t j = 0; j < width; j += kLanes<Real>) {
        const int64_t lanes = least(kLanes<Real>, columns - j);
        store(to + j, lanes > 0 ? load_some(rows[k] + first + j, lanes) : Vec<Real>{});
      }
  }

  /// The same for one panel, whose packed columns are given.
  template <int V>
  static void add_panel(const Scratch& scratch, const Real* columns, Real* tiles, int64_t blocks, int64_t count) {
    constexpr int64_t width = V * kLanes<Real>;
    for (int64_t block = 0; block < blocks; ++block, tiles += kTileRows * width) {
      const Real* left[kTileRows];
      for (int m = 0; m < kTileRows; ++m) left[m] = scratch.blocks + block * kChunkRows * kTileRows + m;
      // Far away in a large matrix, and wanted only at the end of a chain.
      for (int64_t line = 0; line < kTileRows * V; ++line) fetch_to_write(tiles + line * kLanes<Real>);
      for (int64_t first = 0; first < count; first += kChain)
        add_chain<kTileRows, 1, V, kTileRows, false, Real>(tiles, nullptr, 0, left, first, least(kChain, count - first),
                                                           columns + first * width, 0);
    }
  }

  /// Takes the chunk's rows into the weight gradients and writes their grad_input.
  static void flush(Member* member, const Backward<Real>& b, const Real* weights, const Scratch& scratch,
                    Chunk& chunk) {
    const Real* dz[kChunkRows];
    for (int64_t k = 0; k < chunk.rows; ++k) dz[k] = chunk.dz_x[k] - Cell::x_slot * b.H;
    share(member, D, [&](int64_t d) { add_columns(scratch.slot_sums, dz, chunk.rows, d * b.H, (d + 1) * b.H); });
    if (b.grad_input.data)
      cover(member, ProductTile<Real>{chunk.dz_x, weights + hh_size(b), G * b.H, b.I, chunk.dx}, 0, chunk.rows, b.I);
    add_gradient(member, scratch, scratch.w_ih, chunk.dz_x, chunk.x, chunk.rows);
    if (Cell::h_slot == Cell::x_slot)
      add_packed(member, scratch, scratch.w_hh, chunk.h, chunk.rows);
    else
      add_gradient(member, scratch, scratch.w_hh, chunk.dz_h, chunk.h, chunk.rows);
    if (b.w_hr) add_gradient(member, scratch, scratch.w_hr, chunk.dh, chunk.wide, chunk.rows);
    chunk.rows = 0;
  }

  static const char* backward(const Backward<Real>& b, const Real* weights, const RowGroup& rows, Real* start,
                              Member* member) {
    const Scratch scratch(b, member, start);
    const Real* w_hr = weights + hh_size(b) + ih_size(b);
    const Real* forward_weights = w_hr + hr_size(b);
    Chunk chunk;
    const Real *dz_later[kGroupRows], *dz_now[kGroupRows], *h[kGroupRows], *before[kGroupRows], *c_before[kGroupRows];
    const Real *saved[kGroupRows], *dy[kGroupRows], *dh_n[kGroupRows], *dc_n[kGroupRows];
    Real *dz[kGroupRows], *dh0[kGroupRows], *dc0[kGroupRows], *dh[kGroupRows], *wide[kGroupRows];
    place(dh_n, b.grad_h_n, b.P, rows, 0, rows.size);
    place(dc_n, b.grad_c_n, b.H, rows, 0, rows.size);
    place(dh0, b.grad_h0, b.P, rows, 0, rows.size);
    place(dc0, b.grad_c0, b.H, rows, 0, rows.size);
    Real *saved_again[kGroupRows], *h_again[kGroupRows], *c_again[kGroupRows];
    for (int64_t r = 0; r < rows.size; ++r) {
      saved_again[r] = scratch.again + r * (R + 2) * b.H;
      h_again[r] = saved_again[r] + R * b.H;
      c_again[r] = h_again[r] + b.H;
    }
    for_steps(rows, !b.reverse, [&](const Step& step) {
      if (chunk.rows + step.active > kChunkRows) flush(member, b, weights, scratch, chunk);
      const int64_t t_before = step.t + (b.reverse ? 1 : -1);
      if (step.going_on > 0) place(before, b.output, t_before, rows, step.going_on);
      place(before, b.h0, b.P, rows, step.going_on, step.active);
      place(h, b.output, step.t, rows, step.active);
      place(dy, b.grad_output, step.t, rows, step.active);
      place(saved, b.reserve, step.t, rows, step.active);
      if (step.going_on > 0) {
        place(c_before, b.cells, t_before, rows, step.going_on);
        place(c_before, b.reserve, t_before, rows, step.going_on);
        for (int64_t r = 0; b.reserve.data && r < step.going_on; ++r) c_before[r] += (R - 1) * b.H;
      }
      place(c_before, b.c0, b.H, rows, step.going_on, step.active);
      for (int64_t r = 0; r < step.active; ++r) {
        const int64_t k = chunk.rows + r;
        dz_later[r] = dz_now[r];
        dz[r] = scratch.dz + k * D * b.H;
        dz_now[r] = dz[r] + Cell::h_slot * b.H;
        dh[r] = scratch.dh + k * b.P;
        wide[r] = scratch.wide + k * b.H;
        chunk.dz_x[k] = dz[r] + Cell::x_slot * b.H;
        chunk.dz_h[k] = dz_now[r];
        chunk.h[k] = before[r];
        chunk.dh[k] = dh[r];
        chunk.wide[k] = wide[r];
      }
      place(chunk.x + chunk.rows, b.input, step.t, rows, step.active);
      place(chunk.dx + chunk.rows, b.grad_input, step.t, rows, step.active);
      if (recomputes(b)) {
        for (int64_t r = 0; r < step.active; ++r) saved[r] = saved_again[r];
        const ForwardTile tile{b,       forward_weights, chunk.x + chunk.rows, before, c_before,
                               c_again, h_again,         saved_again};
        run_forward(member, tile, step.active);
      }
      // First the rows that have a later step, then those whose last one this is, in the order of the forward pass.
      for (const bool begins : {false, true}) {
        const int64_t first = begins ? step.linked : 0, count = begins ? step.active - step.linked : step.linked;
        const Real* const* from = begins ? nullptr : dz_later;
        const Real* const* from_output = b.grad_output.data ? dy : nullptr;
        const Real* const* from_last = begins && b.grad_h_n ? dh_n : nullptr;
        if (b.w_hr)
          cover(member, ProductTile<Real>{from, weights, G * b.H, b.P, dh, from_output, from_last}, first, count, b.P);
        BackwardTile tile{b,   begins, from, weights, G * b.H,  from_output, from_last, nullptr,
                          dh0, dc0,    h,    before,  c_before, saved,       dz,        nullptr};
        if (begins && b.grad_c_n) tile.dc_n = dc_n;
        tile.dy_ahead = ahead(b.grad_output, step.t, t_before, step.going_on > 0);
        tile.saved_ahead = ahead(b.reserve, step.t, t_before, step.going_on > 0);
        if (b.w_hr) {
          tile.from = dh;
          tile.weights = w_hr;
          tile.depth = b.P;
          tile.dy = tile.dh_n = nullptr;
          tile.wide = wide;
        }
        cover(member, tile, first, count, b.H);
      }
      cover(member, ProductTile<Real>{dz_now, weights, G * b.H, b.P, dh0, Cell::mixes_h ? dh0 : nullptr}, step.going_on,
            step.active - step.going_on, b.P);
      chunk.rows += step.active;
    });
    flush(member, b, weights, scratch, chunk);
    if (b.grad_input.data) share(member, rows.size, [&](int64_t r) { clear_padding(b.grad_input, b.T, b.I, rows, r); });
    return kName;
  }

  /// to[row][column] = (or += unless `first`) the rows [begin, begin + rows) of a thread's gradient.
  static void add_rows(Real* to, const MatrixGradient& from, int64_t begin, int64_t rows, bool first) {
    for (int64_t column = 0; column < from.columns; column += kPanel<Real>) {
      const int64_t columns = least(kPanel<Real>, from.columns - column), width = panel_width<Real>(columns);
      const Real* panel = from.tiles + column * from.blocks() * kTileRows + begin * width;
      for (int64_t row = 0; row < rows; ++row)
        add_vector(to + row * from.columns + column, panel + row * width, columns, first);
    }
  }

  static void add_vector(Real* to, const Real* from, int64_t size, bool first) {
    if (first)
      __builtin_memcpy(to, from, size * sizeof(Real));
    else
      for (int64_t i = 0; i < size; ++i) to[i] += from[i];
  }

  /// The part-th of so many parts, which may be summed at the same time.
  static void reduce(const Backward<Real>& b, Real* const* starts, int threads, int64_t part, int64_t parts) {
    const int64_t unit = b.H * part / parts, units = b.H * (part + 1) / parts - unit;
    const int64_t row = b.P * part / parts, rows = b.P * (part + 1) / parts - row;
    for (int thread = 0; thread < threads; ++thread) {
      const Scratch scratch(b, false, starts[thread]);
      const bool first = thread == 0;
      for (int64_t k = 0; k < G; ++k) {
        const int64_t x = Cell::x_order[k] * b.H + unit, h = Cell::h_order[k] * b.H + unit;
        add_rows(b.grad_w_ih + x * b.I, scratch.w_ih, k * b.H + unit, units, first);
        add_rows(b.grad_w_hh + h * b.P, scratch.w_hh, k * b.H + unit, units, first);
        add_vector(b.grad_b_ih + x, scratch.slot_sums + (Cell::x_slot + k) * b.H + unit, units, first);
        add_vector(b.grad_b_hh + h, scratch.slot_sums + (Cell::h_slot + k) * b.H + unit, units, first);
      }
      if (b.w_hr) add_rows(b.grad_w_hr + row * b.H, scratch.w_hr, row, rows, first);
    }
  }

  static constexpr Kernels<Real> kernels = {G,
                                            R,
                                            Cell::has_c,
                                            forward_weights_size,
                                            pack_forward,
                                            forward_scratch_size,
                                            forward,
                                            backward_weights_size,
                                            pack_backward,
                                            backward_scratch_size,
                                            backward_zeros,
                                            backward,
                                            reduce};
};
