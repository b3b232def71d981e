// The backward pass of one cell over one group of batch rows, and the sum of the threads' weight gradients.
//
// dz holds, for each row and time step, the gradients of the cell's sums, slot after slot of H; W_ih belongs to the
// slots from x_slot on, W_hh to those from h_slot on. Weights: panels of [G*H][width] of w_hh, then of w_ih, both with
// their rows in the order of the slots, then panels of [P][width] of w_hr, then, where gates are made again, those of
// the forward pass.

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
struct BackwardPass {
  typedef ForwardPass<Cell, Real> Again;
  static constexpr int64_t G = Cell::gates, R = Cell::saved, D = Cell::slots;
  static constexpr int kSaved = R > 0 ? R : 1;

  static int64_t hh_size(const Layer<Real>& b) { return padded<Real>(b.P) * G * b.H; }
  static int64_t ih_size(const Layer<Real>& b) { return padded<Real>(b.I) * G * b.H; }

  static int64_t hr_size(const Layer<Real>& b) { return b.w_hr ? padded<Real>(b.H) * b.P : 0; }

  static bool recomputes(const Backward<Real>& b) { return R > 0 && !b.reserve.data; }

  /// Whether the weights are multiplied where they stand.
  static bool is_direct(const Backward<Real>& b) { return are_few(b.T, b.N) && !b.w_hr && !recomputes(b); }

  /// Whether the sums of one chunk are the weight gradients of the call, which go where they belong at once.
  static bool is_whole(const Backward<Real>& b) { return b.alone && b.T * b.N <= kChunkRows; }

  static int64_t weights_size(const Backward<Real>& b) {
    return is_direct(b) ? 0 : hh_size(b) + ih_size(b) + hr_size(b) + (recomputes(b) ? Again::weights_size(b) : 0);
  }

  /// The part-th of so many parts, which may be packed at the same time.
  static void pack(const Backward<Real>& b, Real* weights, int64_t part, int64_t parts) {
    if (is_direct(b)) return;
    const auto pack_matrix = [&](Real* to, const Real* w, int64_t columns, int64_t gates, int64_t depth,
                                 const int* order) {
      for (int64_t first = part * kPanel<Real>; first < columns; first += parts * kPanel<Real>) {
        Real* at = to + first * gates * depth;
        for (int64_t k = 0; k < gates; ++k)
          at = pack_rows(at, w + order[k] * depth * columns + first, least(kPanel<Real>, columns - first), depth,
                         columns);
      }
    };
    constexpr int only[] = {0};
    if (b.T > 1 || b.wants_h0 || b.w_hr) pack_matrix(weights, b.w_hh, b.P, G, b.H, Cell::h_order);
    if (b.grad_input.data) pack_matrix(weights + hh_size(b), b.w_ih, b.I, G, b.H, Cell::x_order);
    weights += hh_size(b) + ih_size(b);
    if (b.w_hr) pack_matrix(weights, b.w_hr, b.H, 1, b.P, only);
    if (recomputes(b)) Again::pack(b, weights + hr_size(b), part, parts);
  }

  // Rows of dz that are gathered before they go into the weight gradients: enough for the tiles, few enough for the L2
  // cache. Room for three steps, so that a step never overwrites the one before it.
  static constexpr int64_t kChunkRows = 3 * kGroupRows;

  /// The gradient of a matrix, in the order in which the tiles add to it, or where it belongs.
  struct MatrixGradient {
    Real* tiles;  // for each panel of columns [blocks][kTileRows][width]
    int64_t rows, columns;
    Real* whole;       // [rows][columns], null if there is more to add
    const int* order;  // of the blocks of H rows in there
    int64_t H;

    Real* row(int64_t row) const { return whole + (order[row / H] * H + row % H) * columns; }
    int64_t blocks() const { return divide_up(rows, kTileRows); }
    int64_t size() const { return padded<Real>(columns) * blocks() * kTileRows; }
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
      static constexpr int only[] = {0};
      const bool whole = is_whole(b);
      w_ih = {nullptr, G * b.H, b.I, whole ? b.grad_w_ih : nullptr, Cell::x_order, b.H};
      w_hh = {nullptr, G * b.H, b.P, whole ? b.grad_w_hh : nullptr, Cell::h_order, b.H};
      w_hr = {nullptr, b.w_hr ? b.P : 0, b.H, whole ? b.grad_w_hr : nullptr, only, b.P};
      w_ih.tiles = take(whole ? 0 : w_ih.size());
      w_hh.tiles = take(whole ? 0 : w_hh.size());
      w_hr.tiles = take(whole ? 0 : w_hr.size());
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

  static int64_t scratch_size(const Backward<Real>& b, bool team) {
    Real* start = nullptr;
    return Scratch(b, team, start).end - start;
  }

  /// The sums at the head of it.
  static int64_t zeros(const Backward<Real>& b) {
    Real* start = nullptr;
    return Scratch(b, false, start).dz - start;
  }

  /// From the gradient of h_t and c_t to dz and the gradient of c_(t-1), for some rows and some panels of hidden units.
  struct Tile {
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

    void finish_panel(const Real* sums, int64_t row, int64_t rows, int64_t first) const {
      finish<false>(sums, kPanel<Real>, row, rows, first, least(kPanel<Real>, b.H - first));
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

  /// Of so few rows a gradient takes as long as its way to memory, so it is written row by row.
  static constexpr int kOuterRows = 4;

  static bool is_outer(const MatrixGradient& grad, int64_t count) {
    return grad.whole && count > 0 && count <= kOuterRows;
  }

  /// grad[i][j] = sum over `count` rows of left[i] right[j], both `count` rows of their matrix.
  static void write_outer(Member* member, const MatrixGradient& grad, const Real* const* left, const Real* const* right,
                          int64_t count) {
    constexpr int64_t some = 32;  // rows of the gradient that are an item of a team
    share(member, divide_up(grad.rows, some), [&](int64_t item) {
      const int64_t first = item * some, end = least(grad.rows, first + some);
      write_outer_of(grad, left, right, count, first, end);
    });
  }

  /// The same for the rows [first, end) of the gradient, by a count known when it is compiled.
  template <int K = kOuterRows>
  static void write_outer_of(const MatrixGradient& grad, const Real* const* left, const Real* const* right,
                             int64_t count, int64_t first, int64_t end) {
    if constexpr (K > 1)
      if (count < K) return write_outer_of<K - 1>(grad, left, right, count, first, end);
    for (; first < end; ++first) {
      Real* const to = grad.row(first);
      Real factors[K];
      for (int k = 0; k < K; ++k) factors[k] = left[k][first];
      const int64_t whole = grad.columns - grad.columns % kLanes<Real>;
      for (int64_t j = 0; j < whole; j += kLanes<Real>) {
        Vec<Real> sum = load(right[0] + j) * factors[0];
        RNNFAST_UNROLL
        for (int k = 1; k < K; ++k) sum += load(right[k] + j) * factors[k];
        store(to + j, sum);
      }
      if (whole == grad.columns) continue;
      Vec<Real> sum = load_some(right[0] + whole, grad.columns - whole) * factors[0];
      RNNFAST_UNROLL
      for (int k = 1; k < K; ++k) sum += load_some(right[k] + whole, grad.columns - whole) * factors[k];
      store_some(to + whole, sum, grad.columns - whole);
    }
  }

  /// grad[i][j] += sum over `count` rows of left[i] right[j], both `count` rows of their matrix.
  static void add_gradient(Member* member, const Scratch& scratch, const MatrixGradient& grad, const Real* const* left,
                           const Real* const* right, int64_t count) {
    if (is_outer(grad, count)) return write_outer(member, grad, left, right, count);
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
      if (width == kPanel<Real>)
        add_panel<kTileVectors>(scratch, packed, grad, first, count);
      else if (width > kLanes<Real>)
        add_panel<kHalfPanelVectors>(scratch, packed, grad, first, count);
      else
        add_panel<1>(scratch, packed, grad, first, count);
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

  /// The same for the panel of the columns from `first_column` on, which are given packed.
  template <int V>
  static void add_panel(const Scratch& scratch, const Real* columns, const MatrixGradient& grad, int64_t first_column,
                        int64_t count) {
    constexpr int64_t width = V * kLanes<Real>;
    alignas(64) Real whole[kTileRows * width];
    Real* tiles = grad.whole ? whole : grad.tiles + first_column * grad.blocks() * kTileRows;
    for (int64_t block = 0; block < grad.blocks(); ++block) {
      const Real* left[kTileRows];
      for (int m = 0; m < kTileRows; ++m) left[m] = scratch.blocks + block * kChunkRows * kTileRows + m;
      // Far away in a large matrix, and wanted only at the end of a chain.
      for (int64_t line = 0; !grad.whole && line < kTileRows * V; ++line) fetch_to_write(tiles + line * kLanes<Real>);
      for (int64_t first = 0; first < count; first += kChain) {
        const int64_t some = least(kChain, count - first);
        if (grad.whole && first == 0)
          add_chain<kTileRows, 1, V, kTileRows, true, Real>(tiles, kZeros<Real>, 0, left, first, some, columns, 0);
        else
          add_chain<kTileRows, 1, V, kTileRows, false, Real>(tiles, nullptr, 0, left, first, some,
                                                             columns + first * width, 0);
      }
      if (grad.whole)
        write_block(grad, whole, width, block * kTileRows, first_column);
      else
        tiles += kTileRows * width;
    }
  }

  /// Puts a tile where it belongs in the gradient.
  static void write_block(const MatrixGradient& grad, const Real* tile, int64_t width, int64_t row, int64_t column) {
    const int64_t columns = least(width, grad.columns - column), end = least(row + kTileRows, grad.rows);
    for (; row < end; ++row, tile += width) {
      Real* const to = grad.row(row) + column;
      for (int64_t j = 0; j < columns; j += kLanes<Real>)
        store_some(to + j, load(tile + j), least(kLanes<Real>, columns - j));
    }
  }

  /// Takes the chunk's rows into the weight gradients and writes their grad_input.
  static void flush(Member* member, const Backward<Real>& b, const Real* weights, const Scratch& scratch,
                    Chunk& chunk) {
    const Real* dz[kChunkRows];
    for (int64_t k = 0; k < chunk.rows; ++k) dz[k] = chunk.dz_x[k] - Cell::x_slot * b.H;
    share(member, D, [&](int64_t d) { add_columns(scratch.slot_sums, dz, chunk.rows, d * b.H, (d + 1) * b.H); });
    const ProductTile<Real> by_input{chunk.dz_x, weights + hh_size(b), G * b.H, b.I, chunk.dx};
    if (b.grad_input.data && is_direct(b))
      cover_standing(member, by_input, Standing<Real>{b.w_ih, Cell::x_order, G, b.H, b.I}, chunk.dz_x, 0, chunk.rows);
    else if (b.grad_input.data)
      cover(member, by_input, 0, chunk.rows, b.I);
    add_gradient(member, scratch, scratch.w_ih, chunk.dz_x, chunk.x, chunk.rows);
    if (Cell::h_slot == Cell::x_slot && !is_outer(scratch.w_hh, chunk.rows))
      add_packed(member, scratch, scratch.w_hh, chunk.h, chunk.rows);
    else
      add_gradient(member, scratch, scratch.w_hh, chunk.dz_h, chunk.h, chunk.rows);
    if (b.w_hr) add_gradient(member, scratch, scratch.w_hr, chunk.dh, chunk.wide, chunk.rows);
    chunk.rows = 0;
  }

  static const char* run(const Backward<Real>& b, const Real* weights, const RowGroup& rows, Real* start,
                         Member* member) {
    const Scratch scratch(b, member, start);
    const Real* w_hr = weights + hh_size(b) + ih_size(b);
    const Real* forward_weights = w_hr + hr_size(b);
    const Standing<Real> w_hh{b.w_hh, Cell::h_order, G, b.H, b.P};
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
        const typename Again::Tile tile{b,       forward_weights, chunk.x + chunk.rows, before, c_before,
                                        c_again, h_again,         saved_again};
        Again::run_tile(member, tile, step.active);
      }
      // First the rows that have a later step, then those whose last one this is, in the order of the forward pass.
      for (const bool begins : {false, true}) {
        const int64_t first = begins ? step.linked : 0, count = begins ? step.active - step.linked : step.linked;
        const Real* const* from = begins ? nullptr : dz_later;
        const Real* const* from_output = b.grad_output.data ? dy : nullptr;
        const Real* const* from_last = begins && b.grad_h_n ? dh_n : nullptr;
        if (b.w_hr)
          cover(member, ProductTile<Real>{from, weights, G * b.H, b.P, dh, from_output, from_last}, first, count, b.P);
        Tile tile{b,   begins, from, weights, G * b.H,  from_output, from_last, nullptr,
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
        if (is_direct(b))
          cover_standing(member, tile, w_hh, from, first, count);
        else
          cover(member, tile, first, count, b.H);
      }
      if (b.wants_h0) {
        const ProductTile<Real> by_state{dz_now, weights, G * b.H, b.P, dh0, Cell::mixes_h ? dh0 : nullptr};
        const int64_t count = step.active - step.going_on;
        if (is_direct(b))
          cover_standing(member, by_state, w_hh, dz_now, step.going_on, count);
        else
          cover(member, by_state, step.going_on, count, b.P);
      }
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
        if (!scratch.w_ih.whole) {
          add_rows(b.grad_w_ih + x * b.I, scratch.w_ih, k * b.H + unit, units, first);
          add_rows(b.grad_w_hh + h * b.P, scratch.w_hh, k * b.H + unit, units, first);
        }
        add_vector(b.grad_b_ih + x, scratch.slot_sums + (Cell::x_slot + k) * b.H + unit, units, first);
        add_vector(b.grad_b_hh + h, scratch.slot_sums + (Cell::h_slot + k) * b.H + unit, units, first);
      }
      if (b.w_hr && !scratch.w_hr.whole) add_rows(b.grad_w_hr + row * b.H, scratch.w_hr, row, rows, first);
    }
  }
};
