// The backward pass of one cell over one group of batch rows with narrow operands, and the sum of the threads' weight
// gradients.
//
// As the pass of float32, but that dz is made of operands, each slot filled up to whole words, and that the gradients
// of the states are floats of their own until they are returned. Weights: panels of [G * words of H][width] of w_hh,
// then of w_ih, both with their rows in the order of the slots, then panels of [words of P][width] of w_hr, then, where
// gates are made again, those of the forward pass.

template <typename Cell, typename Store>
struct NarrowBackward {
  typedef NarrowForward<Cell, Store> Again;
  static constexpr int64_t G = Cell::gates, R = Cell::saved, D = Cell::slots;
  static constexpr int kSaved = R > 0 ? R : 1;

  static int64_t depth(const Layer<Store>& b) { return G * words_for(b.H); }
  static int64_t hh_size(const Layer<Store>& b) { return padded<float>(b.P) * depth(b); }
  static int64_t ih_size(const Layer<Store>& b) { return padded<float>(b.I) * depth(b); }
  static int64_t hr_size(const Layer<Store>& b) { return b.w_hr ? padded<float>(b.H) * words_for(b.P) : 0; }

  static bool recomputes(const Backward<Store>& b) { return R > 0 && !b.reserve.data; }

  static int64_t weights_size(const Backward<Store>& b) {
    return hh_size(b) + ih_size(b) + hr_size(b) + (recomputes(b) ? Again::weights_size(b) : 0);
  }

  /// The part-th of so many parts, which may be packed at the same time.
  static void pack(const Backward<Store>& b, float* weights, int64_t part, int64_t parts) {
    const auto pack_matrix = [&](float* to, const Store* w, int64_t columns, int64_t gates, int64_t rows,
                                 const int* order) {
      for (int64_t first = part * kPanel<float>; first < columns; first += parts * kPanel<float>) {
        float* at = to + first * gates * words_for(rows);
        for (int64_t k = 0; k < gates; ++k)
          at = pack_matrix_rows(at, w + order[k] * rows * columns, columns, rows, first);
      }
    };
    constexpr int only[] = {0};
    pack_matrix(weights, b.w_hh, b.P, G, b.H, Cell::h_order);
    if (b.grad_input.data) pack_matrix(weights + hh_size(b), b.w_ih, b.I, G, b.H, Cell::x_order);
    weights += hh_size(b) + ih_size(b);
    if (b.w_hr) pack_matrix(weights, b.w_hr, b.H, 1, b.P, only);
    if (recomputes(b)) Again::pack(b, weights + hr_size(b), part, parts);
  }

  /// One panel, from column `first` on, of a matrix [rows][columns].
  static float* pack_matrix_rows(float* to, const Store* w, int64_t columns, int64_t rows, int64_t first) {
    constexpr int64_t some = 16 * kDepth * kPack;
    for (int64_t row = 0; row < rows; row += some) {
      const Store* row_of[some];
      const int64_t count = least(some, rows - row);
      for (int64_t i = 0; i < count; ++i) row_of[i] = w + (row + i) * columns;
      to = pack_operand_rows(to, row_of, count, first, least(kPanel<float>, columns - first));
    }
    return to;
  }

  /// A thread's part of the weight gradients and its working memory, one array after another.
  struct Scratch {
    NarrowGradient w_ih, w_hh, w_hr;
    float* slot_sums;  // [D * filled H], dz summed over rows and time, for the biases
    float* dz;         // [kChunkRows][D * words of H]
    float* wide;       // [kChunkRows][words of H], with a projection: the hidden state before it
    float* dh;         // [kChunkRows][words of P], with a projection: the gradient of the hidden state behind it
    float* mix;        // [kGroupRows][H], for cells whose state mixes with the one before
    float* dc;         // [kGroupRows][H], for cells with a cell state
    GradientOperands operands;
    float* again;  // [kGroupRows][...], where gates are made again: x_t, h_(t-1), h_t, c_t and the reserve
    float* end;

    Scratch(const Backward<Store>& b, bool team, float* start) {
      const auto take = [&](int64_t size) {
        float* taken = start;
        start += divide_up(size, kPanel<float>) * kPanel<float>;
        return taken;
      };
      w_ih = {nullptr, G * filled(b.H), b.I};
      w_hh = {nullptr, G * filled(b.H), b.P};
      w_hr = {nullptr, b.w_hr ? b.P : 0, b.H};
      w_ih.tiles = take(w_ih.size());
      w_hh.tiles = take(w_hh.size());
      w_hr.tiles = take(w_hr.size());
      slot_sums = take(D * filled(b.H));
      dz = take(kChunkRows * D * words_for(b.H));
      wide = take(b.w_hr ? kChunkRows * words_for(b.H) : 0);
      dh = take(b.w_hr ? kChunkRows * words_for(b.P) : 0);
      mix = take(Cell::mixes_h ? kGroupRows * b.H : 0);
      dc = take(Cell::has_c ? kGroupRows * b.H : 0);
      operands.left = take((w_ih.blocks() > w_hr.blocks() ? w_ih.blocks() : w_hr.blocks()) * kTileRows * kChunkWords);
      const int64_t widest = b.I > b.H ? b.I : b.H;
      operands.columns = take(kChunkWords * (team ? divide_up(widest, kPanel<float>) : 1) * kPanel<float>);
      again = take(recomputes(b) ? kGroupRows * again_size(b) : 0);
      end = start;
    }
  };

  /// Of a row: x_t and h_(t-1), h_t, c_t, and the reserve.
  static int64_t again_size(const Layer<Store>& b) {
    return Again::row_size(b) + words_for(b.H) + padded<float>(b.H) + R * b.H;
  }

  static int64_t scratch_size(const Backward<Store>& b, bool team) {
    float* start = nullptr;
    return Scratch(b, team, start).end - start;
  }

  /// The sums at the head of it.
  static int64_t zeros(const Backward<Store>& b) {
    float* start = nullptr;
    return Scratch(b, false, start).dz - start;
  }

  /// From the gradient of h_t and c_t to dz and the gradient of c_(t-1), for some rows and some panels of hidden units.
  struct Tile {
    typedef float Element;
    static constexpr int64_t kSums = 1;
    const Backward<Store>& b;
    int64_t end_row;
    bool begins;               // the rows have no later step
    const float* const* from;  // what the gradient of h_t is a product of; null: zeros
    const float* weights;
    int64_t depth;
    const Store* const* dy;      // null where it is zero
    const Store* const* dh_n;    // null where it is zero
    const Store* const* dc_n;    // null where it is zero
    float* const* mix;           // in: its direct part from the later step; out: that for the step before
    float* const* dc;            // in and out
    const Store* const* h;       // h_t
    const Store* const* before;  // h_(t-1)
    const Store* const* c_before;
    const Store* const* saved;
    Operand* const* dz;
    float* slot_sums;      // of dz before it is rounded, added to
    Operand* const* wide;  // h_t before the projection, made again; null without one
    int64_t dy_ahead = 0, saved_ahead = 0;
    bool falling = false;  // the panels in falling order, if they come from afar

    bool far() const { return is_far<float>(depth * b.H); }
    int64_t stripe() const { return far() ? kStripe : 1; }
    int64_t end() const { return end_row; }
    bool backward() const { return falling; }
    int64_t steps() const { return from ? depth / kDepth : 0; }

    template <int M, int P, int V>
    void run(int64_t row, int64_t blocks, int64_t unit) const {
      constexpr int64_t width = kWidth<P, V, float>;
      alignas(64) float sums[kStripe * M * width];
      NoWork none;
      multiply<M, P, V>(sums, 0, row, blocks, unit, none);
      for (int64_t m = 0; m < least(blocks * M, end_row - row); ++m)
        finish_row(sums + m * width, 0, width, row + m, unit);
    }

    template <int M, int P, int V, typename Work>
    RNNFAST_INLINE void multiply(float* sums, int64_t, int64_t row, int64_t blocks, int64_t unit, Work& work) const {
      set_operand_product<M, P, V>(sums, from ? from + row : nullptr, blocks, depth, weights + unit * depth, far(),
                                   work);
    }

    /// From the sums of a row to dz of `width` hidden units from `first` on, or as many as there are.
    RNNFAST_INLINE void finish_row(const float* sums, int64_t, int64_t width, int64_t row, int64_t first) const {
      constexpr int64_t lanes = kLanes<float>;
      const int64_t units = least(width, b.H - first);
      int64_t j = 0;
      for (; j + 2 * lanes <= units; j += 2 * lanes) finish_some<2, true>(sums + j, row, first + j, lanes);
      for (; j + lanes <= units; j += lanes) finish_some<1, true>(sums + j, row, first + j, lanes);
      if (j < units) finish_some<1, false>(sums + j, row, first + j, units - j);
    }

    /// The same for W vectors of hidden units from `unit` on; of the last one `count` units.
    template <int W, bool whole>
    RNNFAST_INLINE void finish_some(const float* sums, int64_t row, int64_t unit, int64_t count) const {
      Vec<float> later[W] = {}, cell[W] = {}, output[W], gradients[D][W];
      RNNFAST_UNROLL
      for (int w = 0; w < W; ++w) {
        const int64_t at = unit + w * kLanes<float>;
        if (dy) fetch(dy[row] + dy_ahead + at);
        if (R == 0) fetch(before[row] + at);  // h_t of the next step
        for (int64_t k = 0; k < R; ++k) fetch(saved[row] + saved_ahead + k * b.H + at);
        Vec<float> dh = load(sums + w * kLanes<float>), old = {}, old_c = {}, kept[kSaved], dz_of[D];
        if (dy) dh += load_some<whole>(dy[row] + at, count);
        if (dh_n) dh += load_some<whole>(dh_n[row] + at, count);
        if (Cell::mixes_h) {
          if (!begins) dh += load_some<whole>(mix[row] + at, count);
          old = load_some<whole>(before[row] + at, count);
        }
        if (Cell::has_c) {
          if (!begins) cell[w] = load_some<whole>(dc[row] + at, count);
          if (dc_n) cell[w] += load_some<whole>(dc_n[row] + at, count);
          old_c = load_some<whole>(c_before[row] + at, count);
        }
        for (int64_t k = 0; k < R; ++k) kept[k] = load_some<whole>(saved[row] + k * b.H + at, count);
        const Vec<float> now = R > 0 ? Vec<float>{} : load_some<whole>(h[row] + at, count);
        Cell::backward(dh, later[w], cell[w], now, old, old_c, kept, dz_of);
        for (int64_t d = 0; d < D; ++d) gradients[d][w] = dz_of[d];
        if constexpr (Cell::has_c) output[w] = Cell::output(kept);
      }
      for (int64_t d = 0; d < D; ++d) {
        store_all<whole>(dz[row] + d * filled(b.H) + unit, gradients[d], count);
        for (int w = 0; w < W; ++w) {
          float* const sum = slot_sums + d * filled(b.H) + unit + w * kLanes<float>;
          store_some<whole>(sum, load_some<whole>(sum, count) + gradients[d][w], count);
        }
      }
      if (Cell::mixes_h) store_all<whole>(mix[row] + unit, later, count);
      if (Cell::has_c) store_all<whole>(dc[row] + unit, cell, count);
      if constexpr (Cell::has_c)
        if (wide) store_all<whole>(wide[row] + unit, output, count);
    }
  };

  /// Rows of dz beside the input and the state before them, waiting for `flush`.
  struct Chunk {
    const float *dz_x[kChunkRows], *dz_h[kChunkRows];  // the slots of W_ih and those of W_hh, as words
    const Store *x[kChunkRows], *h[kChunkRows];
    const Operand *dh[kChunkRows], *wide[kChunkRows];  // with a projection
    Store* dx[kChunkRows];
    int64_t rows = 0;

    Chunk(const Backward<Store>& b, const Scratch& scratch) {
      const int64_t slot = words_for(b.H);
      for (int64_t k = 0; k < kChunkRows; ++k) {
        dz_x[k] = scratch.dz + (k * D + Cell::x_slot) * slot;
        dz_h[k] = scratch.dz + (k * D + Cell::h_slot) * slot;
        dh[k] = reinterpret_cast<const Operand*>(scratch.dh + k * words_for(b.P));
        wide[k] = reinterpret_cast<const Operand*>(scratch.wide + k * slot);
      }
    }
  };

  /// Takes the chunk's rows into the weight gradients and writes their grad_input.
  static void flush(Member* member, const Backward<Store>& b, const float* weights, const Scratch& scratch,
                    Chunk& chunk, TileUnit& unit, int64_t rows) {
    unit.shape(kGroupRows);  // the rows of gradients are columns
    const Operand *dz_x[kChunkRows], *dz_h[kChunkRows];
    for (int64_t k = 0; k < chunk.rows; ++k) {
      dz_x[k] = reinterpret_cast<const Operand*>(chunk.dz_x[k]);
      dz_h[k] = reinterpret_cast<const Operand*>(chunk.dz_h[k]);
    }
    if (b.grad_input.data)
      cover(member, OperandProduct<Store, Store>{chunk.dz_x, weights + hh_size(b), depth(b), b.I, chunk.rows, chunk.dx},
            0, chunk.rows, b.I);
    add_gradient_of(member, scratch.operands, scratch.w_ih, dz_x, chunk.x, chunk.rows);
    if (Cell::h_slot == Cell::x_slot)
      add_gradient_of(member, scratch.operands, scratch.w_hh, chunk.h, chunk.rows);
    else
      add_gradient_of(member, scratch.operands, scratch.w_hh, dz_h, chunk.h, chunk.rows);
    if (b.w_hr) add_gradient_of(member, scratch.operands, scratch.w_hr, chunk.dh, chunk.wide, chunk.rows);
    unit.shape(rows);
    chunk.rows = 0;
  }

  /// What the gates of a step are made of again, and where they go.
  struct Remake {
    const float *xh[kGroupRows], *only_h[kGroupRows];
    Operand *x[kGroupRows], *h_before[kGroupRows], *h[kGroupRows];
    float* c[kGroupRows];
    Store* saved[kGroupRows];

    void place(const Backward<Store>& b, float* at) {
      // Rows of one array stand a constant distance apart, as tiles want them.
      float *const later = at + kGroupRows * Again::row_size(b), *const cells = later + kGroupRows * words_for(b.H),
                   *const kept = cells + kGroupRows * padded<float>(b.H);
      for (int64_t r = 0; r < kGroupRows; ++r) {
        xh[r] = at + r * Again::row_size(b);
        only_h[r] = xh[r] + words_for(b.I);
        x[r] = reinterpret_cast<Operand*>(at + r * Again::row_size(b));
        h_before[r] = x[r] + filled(b.I);
        h[r] = reinterpret_cast<Operand*>(later + r * words_for(b.H));
        c[r] = cells + r * padded<float>(b.H);
        saved[r] = reinterpret_cast<Store*>(kept + r * R * b.H);
      }
    }
  };

  static const char* run(const Backward<Store>& b, const float* weights, const RowGroup& rows, float* start,
                         Member* member) {
    TileUnit unit(rows.size);
    const Scratch scratch(b, member, start);
    const float* w_hr = weights + hh_size(b) + ih_size(b);
    const float* forward_weights = w_hr + hr_size(b);
    const int64_t slot = words_for(b.H);
    Chunk chunk(b, scratch);
    const float *dz_later[kGroupRows + 1], *dz_now[kGroupRows + 1], *dh_words[kGroupRows + 1];
    const Store *h[kGroupRows], *before[kGroupRows], *c_before[kGroupRows], *c_now[kGroupRows];
    const Store *saved[kGroupRows], *dy[kGroupRows], *dh_n[kGroupRows], *dc_n[kGroupRows];
    Operand *dz[kGroupRows + 1], *dh[kGroupRows + 1], *wide[kGroupRows + 1];
    float *mix[kGroupRows], *dc[kGroupRows];
    Store *dh0[kGroupRows], *dc0[kGroupRows];
    place(dh_n, b.grad_h_n, b.P, rows, 0, rows.size);
    place(dc_n, b.grad_c_n, b.H, rows, 0, rows.size);
    place(dh0, b.grad_h0, b.P, rows, 0, rows.size);
    place(dc0, b.grad_c0, b.H, rows, 0, rows.size);
    for (int64_t r = 0; r < rows.size; ++r) {
      mix[r] = scratch.mix + r * b.H;
      dc[r] = scratch.dc + r * b.H;
    }
    share(member, kChunkRows, [&](int64_t k) {
      Operand* row = reinterpret_cast<Operand*>(scratch.dz + k * D * slot);
      for (int64_t d = 0; d < D; ++d) fill(row + d * filled(b.H), b.H);
      if (b.w_hr) fill(reinterpret_cast<Operand*>(scratch.dh + k * words_for(b.P)), b.P);
    });
    Remake remake;
    if (recomputes(b)) {
      remake.place(b, scratch.again);
      share(member, rows.size, [&](int64_t r) {
        fill(remake.x[r], b.I);
        fill(remake.h_before[r], b.P);
      });
    }
    for_steps(rows, !b.reverse, [&](const Step& step) {
      if (chunk.rows + step.active > kChunkRows) flush(member, b, weights, scratch, chunk, unit, rows.size);
      const int64_t t_before = step.t + (b.reverse ? 1 : -1);
      if (step.going_on > 0) place(before, b.output, t_before, rows, step.going_on);
      place(before, b.h0, b.P, rows, step.going_on, step.active);
      place(h, b.output, step.t, rows, step.active);
      place(dy, b.grad_output, step.t, rows, step.active);
      place(saved, b.reserve, step.t, rows, step.active);
      place(c_now, b.cells, step.t, rows, step.active);
      if (step.going_on > 0) {
        place(c_before, b.cells, t_before, rows, step.going_on);
        place(c_before, b.reserve, t_before, rows, step.going_on);
        for (int64_t r = 0; b.reserve.data && r < step.going_on; ++r) c_before[r] += (R - 1) * b.H;
      }
      place(c_before, b.c0, b.H, rows, step.going_on, step.active);
      // Tiles want to know how far apart rows are also where there is one row.
      for (int64_t r = 0; r < (kTiles ? kGroupRows + 1 : step.active); ++r) {
        const int64_t k = chunk.rows + r;
        float *const at = scratch.dz + k * D * slot, *const dh_at = scratch.dh + k * words_for(b.P);
        dz_later[r] = dz_now[r];
        dz_now[r] = at + Cell::h_slot * slot;
        dh_words[r] = dh_at;
        dz[r] = reinterpret_cast<Operand*>(at);
        dh[r] = reinterpret_cast<Operand*>(dh_at);
        wide[r] = reinterpret_cast<Operand*>(scratch.wide + k * slot);
      }
      for (int64_t r = 0; r < step.active; ++r) chunk.h[chunk.rows + r] = before[r];
      place(chunk.x + chunk.rows, b.input, step.t, rows, step.active);
      place(chunk.dx + chunk.rows, b.grad_input, step.t, rows, step.active);
      if (recomputes(b)) {
        share(member, step.active, [&](int64_t r) {
          convert(remake.x[r], chunk.x[chunk.rows + r], b.I);
          convert(remake.h_before[r], before[r], b.P);
          if constexpr (Cell::has_c) convert(remake.c[r], c_before[r], b.H);
        });
        Again::run_tile(member, {b, forward_weights, step.active, remake.xh, remake.only_h, before, remake.c, nullptr,
                                 remake.h, remake.saved, nullptr});
        // c_t as the forward pass made it, from cell states that had not been rounded.
        if constexpr (Cell::has_c)
          share(member, step.active, [&](int64_t r) { convert(remake.saved[r] + (R - 1) * b.H, c_now[r], b.H); });
        for (int64_t r = 0; r < step.active; ++r) saved[r] = remake.saved[r];
      }
      // First the rows that have a later step, then those whose last one this is, in the order of the forward pass.
      for (const bool begins : {false, true}) {
        const int64_t first = begins ? step.linked : 0, count = begins ? step.active - step.linked : step.linked;
        const float* const* from = begins ? nullptr : dz_later;
        const Store* const* from_output = b.grad_output.data ? dy : nullptr;
        const Store* const* from_last = begins && b.grad_h_n ? dh_n : nullptr;
        if (b.w_hr)
          cover(member,
                OperandProduct<Operand, Store>{from, weights, depth(b), b.P, first + count, dh, from_output, from_last},
                first, count, b.P);
        Tile tile{
            b, first + count, begins,   from,  weights, depth(b),          from_output, from_last, nullptr, mix, dc,
            h, before,        c_before, saved, dz,      scratch.slot_sums, nullptr};
        if (begins && b.grad_c_n) tile.dc_n = dc_n;
        tile.dy_ahead = ahead(b.grad_output, step.t, t_before, step.going_on > 0);
        tile.falling = step.t % 2 == 1;
        tile.saved_ahead = ahead(b.reserve, step.t, t_before, step.going_on > 0);
        if (b.w_hr) {
          tile.from = dh_words;
          tile.weights = w_hr;
          tile.depth = words_for(b.P);
          tile.dy = tile.dh_n = nullptr;
          tile.wide = wide;
        }
        cover(member, tile, first, count, b.H);
      }
      if (b.wants_h0) {
        const OperandProduct<Store, float> by_state{
            dz_now, weights, depth(b), b.P, step.active, dh0, Cell::mixes_h ? mix : nullptr};
        cover(member, by_state, step.going_on, step.active - step.going_on, b.P);
      }
      if constexpr (Cell::has_c)
        share(member, step.active - step.going_on,
              [&](int64_t i) { convert(dc0[step.going_on + i], dc[step.going_on + i], b.H); });
      chunk.rows += step.active;
    });
    flush(member, b, weights, scratch, chunk, unit, rows.size);
    if (b.grad_input.data) share(member, rows.size, [&](int64_t r) { clear_padding(b.grad_input, b.T, b.I, rows, r); });
    return kName;
  }

  /// to[row][column] = the threads' sum of the rows [begin, begin + rows) of a gradient.
  static void sum_rows(Store* to, const Threads& all, const NarrowGradient& first, int64_t begin, int64_t rows) {
    for (int64_t column = 0; column < first.columns; column += kPanel<float>) {
      const int64_t columns = least(kPanel<float>, first.columns - column), width = panel_width<float>(columns);
      const float* panel = first.tiles + column * first.blocks() * kTileRows + begin * width;
      for (int64_t row = 0; row < rows; ++row) all.sum(to + row * first.columns + column, panel + row * width, columns);
    }
  }

  /// The part-th of so many parts, which may be summed at the same time.
  static void reduce(const Backward<Store>& b, float* const* starts, int threads, int64_t part, int64_t parts) {
    const int64_t unit = b.H * part / parts, units = b.H * (part + 1) / parts - unit;
    const int64_t row = b.P * part / parts, rows = b.P * (part + 1) / parts - row;
    const Threads all{starts, threads};
    const Scratch first(b, false, starts[0]);
    for (int64_t k = 0; k < G; ++k) {
      const int64_t x = Cell::x_order[k] * b.H + unit, h = Cell::h_order[k] * b.H + unit;
      const int64_t from = k * filled(b.H) + unit;
      sum_rows(b.grad_w_ih + x * b.I, all, first.w_ih, from, units);
      sum_rows(b.grad_w_hh + h * b.P, all, first.w_hh, from, units);
      all.sum(b.grad_b_ih + x, first.slot_sums + Cell::x_slot * filled(b.H) + from, units);
      all.sum(b.grad_b_hh + h, first.slot_sums + Cell::h_slot * filled(b.H) + from, units);
    }
    if (b.w_hr) sum_rows(b.grad_w_hr + row * b.H, all, first.w_hr, row, rows);
  }
};
