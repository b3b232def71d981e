// The forward pass of one cell over one group of batch rows, with weights and operands of products as bytes.
//
// A row of x_t has the scale of its largest number, at every step. Where |h_t| is at most 1 by the nature of the cell
// its scale is 1/127, and the step that makes h_t makes its bytes; a GRU's is larger if its first state is. Of other
// cells, and behind a projection, h_t has the scale of its largest number too. Sums are exact, whatever the target;
// biases, activations and cell states are floats.
//
// A NaN or an infinity in a row of x_t, or in its first state, makes its scale NaN: all that the row gives is NaN from
// that step on.
//
// Weights: as in int8/layout.h.

/// How many sums have a gate.
template <int S>
constexpr int64_t gates_in(const int (&gate)[S]) {
  int64_t count = 0;
  for (int each : gate) count += each >= 0;
  return count;
}

template <typename Cell>
struct QuantizedForward {
  static constexpr int64_t S = Cell::sums;
  static constexpr int kSaved = Cell::saved > 0 ? Cell::saved : 1;
  using SumHead = int8::SumHead;
  static constexpr int64_t kUnits = int8::kUnits;

  static int64_t panel_bytes(const Layer<float>& f) {
    return int8::panel_bytes(S, gates_in(Cell::x_gate), gates_in(Cell::h_gate), f.I, f.P);
  }

  /// In floats, as all sizes are.
  static int64_t weights_size(const Layer<float>& f) {
    const int64_t projection = f.w_hr ? int8::panels_for(f.P) * int8::projection_bytes(f.H) : 0;
    return (int8::panels_for(f.H) * panel_bytes(f) + projection + int8::kMargin) / int64_t(sizeof(float));
  }

  /// Whether h_t gets its scale from its largest number.
  static bool is_dynamic(const Layer<float>& f) { return !Cell::is_bounded || f.w_hr; }

  /// Sums of one row that are made ahead of its time step: [S][padded H].
  static int64_t ahead_size(const Layer<float>& f) { return S * int8::panels_for(f.H) * kUnits; }

  /// Steps of few rows read all weights for few sums. So their input goes through the weights together with that of
  /// many other steps, as in the pass of float32.
  static constexpr int64_t kFewRows = kBlockRows >= 32 ? kBlockRows / 2 : kBlockRows / 4;
  static constexpr int64_t kAheadBytes = 1 << 19;
  static int64_t most_ahead(const Layer<float>& f) {
    const int64_t fit = kAheadBytes / (ahead_size(f) * int64_t(sizeof(float)));
    return fit < kFewRows ? kFewRows : least(fit, kGroupRows);
  }
  static bool makes_ahead(const Layer<float>& f) { return f.T > 1 && f.I >= int8::kLineBytes / 2; }

  /// What a sweep works with, which all members of a team share.
  struct Room {
    float *x_scale, *h_scale;     // [kGroupRows], of the bytes of this step; x_scale: likewise, of rows made ahead
    float *base_scale, *inverse;  // [kGroupRows], the scale of h_t of bounded cells, and one over it
    float* wide_scale;            // [kGroupRows], of what a projection reads
    ByteRows x, h[2], wide;       // wide: that
    float* before;                // the same as floats, [kGroupRows][H]
    float* made;                  // [most_ahead][S][padded H]

    Room(const Layer<float>& f, float* scratch) {
      x_scale = scratch;
      h_scale = x_scale + kGroupRows;
      base_scale = h_scale + kGroupRows;
      inverse = base_scale + kGroupRows;
      wide_scale = inverse + kGroupRows;
      uint8_t* at = reinterpret_cast<uint8_t*>(wide_scale + kGroupRows);
      for (ByteRows* rows : {&x, &h[0], &h[1], &wide}) {
        rows->stride = ByteRows::stride_for(rows == &x ? f.I : rows == &wide ? (f.w_hr ? f.H : 0) : f.P);
        rows->data = at;
        at += kGroupRows * rows->stride;
      }
      before = reinterpret_cast<float*>(at);
      made = before + (f.w_hr ? kGroupRows * f.H : 0);
    }
  };

  static int64_t scratch_size(const Layer<float>& f) {
    const Room room(f, nullptr);
    const int64_t sums = makes_ahead(f) ? most_ahead(f) * ahead_size(f) : 0;
    return room.made - room.x_scale + sums;
  }

  /// From x_t, h_(t-1) and c_(t-1) to h_t and c_t, of the hidden units of one panel.
  struct Tile {
    const Layer<float>& f;
    const uint8_t* weights;
    const float *x_scale, *h_scale, *inverse;
    ByteRows x, h;
    const float* const* h_before;
    const float* const* c_before;
    float* const* c;    // c_t; may be the same memory
    float* const* y;    // h_t, or with a projection what it projects
    ByteRows after;     // h_t as bytes
    bool wants_bytes;   // whether they are wanted
    const float* made;  // the sums of these rows that come from x_t; null: there are none
    const float* const* input;
    int64_t x_ahead, y_ahead;  // how far behind the vectors of this step those of the next one stand; 0: do not fetch

    void run(int64_t rows, int64_t panel) const {
      const int64_t height = block_height(rows);
      for (int64_t row = 0; row < rows; row += height) run_block(row, least(height, rows - row), panel);
    }

    void run_block(int64_t row, int64_t count, int64_t panel) const {
      alignas(64) int32_t sums[2 * S][kBlockRows * kUnits];
      const SumHead* heads[S];
      const uint8_t* at = weights + panel * panel_bytes(f);
      for (int s = 0; s < S; ++s) {
        heads[s] = reinterpret_cast<const SumHead*>(at);
        at += sizeof(SumHead);
        if (Cell::x_gate[s] >= 0) {
          if (!made) set_product(sums[2 * s], heads[s]->x_offset, x.at(row), x.stride, count, int8::words_for(f.I), at);
          at += int8::words_for(f.I) * int8::kLineBytes;
        }
        if (Cell::h_gate[s] >= 0) {
          set_product(sums[2 * s + 1], heads[s]->h_offset, h.at(row), h.stride, count, int8::words_for(f.P), at);
          at += int8::words_for(f.P) * int8::kLineBytes;
        }
      }
      const int64_t units = least(kUnits, f.H - panel * kUnits);
      if (made)
        finish_some<true>(sums, heads, row, count, panel * kUnits, units);
      else
        finish_some<false>(sums, heads, row, count, panel * kUnits, units);
    }

    typedef int32_t Sums[2 * S][kBlockRows * kUnits];

    template <bool was_made>
    void finish_some(const Sums& sums, const SumHead* const (&heads)[S], int64_t row, int64_t count, int64_t unit,
                     int64_t units) const {
      for (int64_t j = 0; j < units; j += kLanes<float>) {
        if (units - j >= kLanes<float>)
          finish<was_made, true>(sums, heads, row, count, unit, j, kLanes<float>);
        else
          finish<was_made, false>(sums, heads, row, count, unit, j, units - j);
      }
    }

    /// From the sums to h_t and c_t of some lanes: those of the units from `unit` + j on.
    template <bool was_made, bool whole>
    void finish(const Sums& sums, const SumHead* const (&heads)[S], int64_t row, int64_t count, int64_t first,
                int64_t j, int64_t lanes) const {
      Vec<float> bias[S], by_x[S], by_h[S];
      for (int s = 0; s < S; ++s) {
        bias[s] = load(heads[s]->bias + j);
        by_x[s] = load(heads[s]->x_scale + j);
        by_h[s] = load(heads[s]->h_scale + j);
      }
      // In registers: whatever is written might be one of the members, for all that the compiler knows.
      const int64_t unit = first + j, padded_h = int8::panels_for(f.H) * kUnits, made_size = S * padded_h;
      const int64_t next_x = unit < f.I ? x_ahead : 0, next_y = y_ahead, stride = after.stride;
      const float *const x_scales = x_scale + row, *const h_scales = h_scale + row, *const inverses = inverse + row;
      const float* const* const inputs = input + row;
      const float *const *const h_rows = h_before + row, *const *const c_rows = c_before + row;
      float *const *const y_rows = y + row, *const *const c_to = c + row;
      const float* from_x = was_made ? made + row * made_size + unit : nullptr;
      uint8_t* bytes = wants_bytes ? after.at(row) + unit : nullptr;
      for (int64_t m = 0; m < count; ++m) {
        Vec<float> z[S], before = {}, cell = {}, kept[kSaved];
        for (int s = 0; s < S; ++s) {
          z[s] = bias[s];
          if (Cell::x_gate[s] >= 0) {
            if (was_made)
              z[s] = load(from_x + s * padded_h);
            else
              z[s] += floats_of(sums[2 * s] + m * kUnits + j) * x_scales[m] * by_x[s];
          }
          if (Cell::h_gate[s] >= 0) z[s] += floats_of(sums[2 * s + 1] + m * kUnits + j) * h_scales[m] * by_h[s];
        }
        if (was_made) from_x += made_size;
        if (Cell::mixes_h) before = load_some<whole>(h_rows[m] + unit, lanes);
        if (Cell::has_c) cell = load_some<whole>(c_rows[m] + unit, lanes);
        if (next_x) fetch(inputs[m] + next_x + unit);
        fetch_to_write(y_rows[m] + next_y + unit);
        const Vec<float> now = Cell::forward(z, before, cell, kept);
        store_some<whole>(y_rows[m] + unit, now, lanes);
        if (Cell::has_c) store_some<whole>(c_to[m] + unit, cell, lanes);
        if (bytes) {
          store_bytes<whole>(bytes, now * inverses[m], lanes);
          bytes += stride;
        }
      }
    }
  };

  RNNFAST_INLINE static Vec<float> floats_of(const int32_t* sums) {
    return __builtin_convertvector(load_ints(sums), Vec<float>);
  }

  /// The parts of the sums that come from x_t and the biases, for some rows of whatever time steps.
  static void make_panel(const Layer<float>& f, const uint8_t* weights, const Room& room, int64_t rows, int64_t panel) {
    alignas(64) int32_t sums[kBlockRows * kUnits];
    const int64_t padded_h = int8::panels_for(f.H) * kUnits;
    const uint8_t* at = weights + panel * panel_bytes(f);
    for (int s = 0; s < S; ++s) {
      const auto* head = reinterpret_cast<const SumHead*>(at);
      at += sizeof(SumHead);
      for (int64_t row = 0; Cell::x_gate[s] >= 0 && row < rows; row += kBlockRows) {
        const int64_t count = least(kBlockRows, rows - row);
        set_product(sums, head->x_offset, room.x.at(row), room.x.stride, count, int8::words_for(f.I), at);
        for (int64_t m = 0; m < count; ++m)
          for (int64_t j = 0; j < kUnits; j += kLanes<float>)
            store(room.made + (row + m) * ahead_size(f) + s * padded_h + panel * kUnits + j,
                  load(head->bias + j) +
                      floats_of(sums + m * kUnits + j) * room.x_scale[row + m] * load(head->x_scale + j));
      }
      if (Cell::x_gate[s] >= 0) at += int8::words_for(f.I) * int8::kLineBytes;
      if (Cell::h_gate[s] >= 0) at += int8::words_for(f.P) * int8::kLineBytes;
    }
  }

  /// Makes them for this step and those after it, while they have few rows; returns the number of rows made.
  static int64_t make_ahead(Member* member, const Forward<float>& f, const uint8_t* weights, const RowGroup& rows,
                            const Step& step, const Room& room) {
    const float* x[kGroupRows];
    int64_t made = 0;
    for (int64_t t = step.t; t >= 0 && t < rows.length[0]; t += f.reverse ? -1 : 1) {
      const int64_t active = rows_at(rows, t);
      if (active > kFewRows || made + active > most_ahead(f)) break;
      place(x + made, f.input, t, rows, active);
      made += active;
    }
    share(member, made, [&](int64_t r) { quantize_input(f, room, r, x[r]); });
    share(member, int8::panels_for(f.H), [&](int64_t panel) { make_panel(f, weights, room, made, panel); });
    return made;
  }

  static void quantize_input(const Layer<float>& f, const Room& room, int64_t r, const float* x) {
    room.x_scale[r] = quantize(room.x.at(r), x, f.I, largest_of(x, f.I));
  }

  /// The bytes of the hidden state before the first step of row r, and the scale of those behind it.
  static void quantize_first(const Layer<float>& f, const Room& room, ByteRows to, int64_t r, const float* h0,
                             const float* c0) {
    float largest = largest_of(h0, f.P);
    if (!is_dynamic(f)) {
      if (largest < 1) largest = 1;
      const float bound = Cell::mixes_h ? largest : 1;
      room.base_scale[r] = bound / kLargestByte;
      room.inverse[r] = kLargestByte / bound;
    }
    room.h_scale[r] = quantize(to.at(r), h0, f.P, largest);
    if (Cell::has_c && !is_finite(largest_of(c0, f.H))) room.h_scale[r] = kNaN;
  }

  /// Those of row r at the next step, `h` being what it gave.
  static void quantize_next(const Layer<float>& f, const Room& room, ByteRows to, int64_t r, const float* h) {
    if (is_dynamic(f))
      room.h_scale[r] = quantize(to.at(r), h, f.P, largest_of(h, f.P));
    else  // the bytes are there; a row with a NaN has nothing else
      room.h_scale[r] = h[0] == h[0] ? room.base_scale[r] : kNaN;
  }

  /// y = W_hr times what the bytes stand for, of the units of one panel.
  static void project(const Layer<float>& f, const uint8_t* weights, const Room& room, int64_t rows, float* const* y,
                      int64_t panel) {
    alignas(64) int32_t sums[kBlockRows * kUnits];
    const uint8_t* at = weights + int8::panels_for(f.H) * panel_bytes(f) + panel * int8::projection_bytes(f.H);
    const auto* head = reinterpret_cast<const int8::ProjectionHead*>(at);
    at += sizeof(int8::ProjectionHead);
    for (int64_t row = 0; row < rows; row += kBlockRows) {
      const int64_t count = least(kBlockRows, rows - row);
      set_product(sums, head->offset, room.wide.at(row), room.wide.stride, count, int8::words_for(f.H), at);
      for (int64_t r = row; r < row + count; ++r)
        for (int64_t unit = panel * kUnits; unit < least(f.P, (panel + 1) * kUnits); unit += kLanes<float>) {
          const int64_t j = unit - panel * kUnits, lanes = least(kLanes<float>, f.P - unit);
          const Vec<float> sum = floats_of(sums + (r - row) * kUnits + j) * room.wide_scale[r];
          store_some(y[r] + unit, Vec<float>(sum * load(head->scale + j)), lanes);
        }
    }
  }

  static const char* run(const Forward<float>& f, const float* packed, const RowGroup& rows, float* scratch,
                         Member* member) {
    const auto* weights = reinterpret_cast<const uint8_t*>(packed);
    const Room room(f, scratch);
    const ByteTiles tiles(makes_ahead(f) ? kGroupRows : rows.size);
    const int64_t panels = int8::panels_for(f.H);
    const float *input[kGroupRows], *h[kGroupRows], *c_before[kGroupRows], *h0[kGroupRows], *c0[kGroupRows];
    float *y[kGroupRows], *c[kGroupRows], *wide[kGroupRows];
    for (int64_t r = 0; r < rows.size; ++r) wide[r] = room.before + r * f.H;
    place(h0, f.h0, f.P, rows, 0, rows.size);
    place(c0, f.c0, f.H, rows, 0, rows.size);
    place(c, f.c_n, f.H, rows, 0, rows.size);
    // What fills the rows up must be zero; rows of a tile that are not there may hold anything.
    share(member, makes_ahead(f) ? kGroupRows : rows.size, [&](int64_t r) {
      room.x.fill(r, f.I);
      room.h[0].fill(r, f.P);
      room.h[1].fill(r, f.P);
      if (f.w_hr) room.wide.fill(r, f.H);
    });
    int turn = 0;
    int64_t used = 0, made = 0;
    for_steps(rows, f.reverse, [&](const Step& step) {
      for (int64_t r = 0; r < step.linked; ++r) {
        h[r] = y[r];
        c_before[r] = c[r];
      }
      place(h, f.h0, f.P, rows, step.linked, step.active);
      place(c_before, f.c0, f.H, rows, step.linked, step.active);
      place(input, f.input, step.t, rows, step.active);
      place(y, f.output, step.t, rows, step.active);
      const bool ahead_of_it = makes_ahead(f) && step.active <= kFewRows;
      if (ahead_of_it && used == made) {
        made = make_ahead(member, f, weights, rows, step, room);
        used = 0;
      }
      const int64_t first = ahead_of_it ? used : 0;  // of the rows made
      if (ahead_of_it) used += step.active;
      share(member, step.active, [&](int64_t r) {
        if (!ahead_of_it) quantize_input(f, room, r, input[r]);
        if (r >= step.linked)
          quantize_first(f, room, room.h[turn], r, h0[r], Cell::has_c ? c0[r] : nullptr);
        else
          quantize_next(f, room, room.h[turn], r, h[r]);
      });
      const int64_t next = step.t + (f.reverse ? -1 : 1);
      const Tile tile{f,
                      weights,
                      room.x_scale + first,
                      room.h_scale,
                      room.inverse,
                      room.x,
                      room.h[turn],
                      h,
                      c_before,
                      c,
                      f.w_hr ? wide : y,
                      room.h[1 - turn],
                      !is_dynamic(f),
                      ahead_of_it ? room.made + first * ahead_size(f) : nullptr,
                      input,
                      ahead_of_it ? 0 : ahead(f.input, step.t, next, step.going_on > 0),
                      f.w_hr ? 0 : ahead(f.output, step.t, next, step.going_on > 0)};
      share(member, panels, [&](int64_t panel) { tile.run(step.active, panel); });
      if (f.w_hr) {
        share(member, step.active, [&](int64_t r) {
          room.wide_scale[r] = quantize(room.wide.at(r), wide[r], f.H, largest_of(wide[r], f.H));
        });
        share(member, int8::panels_for(f.P), [&](int64_t panel) { project(f, weights, room, step.active, y, panel); });
      }
      if (f.h_n && step.going_on < step.active)
        share(member, step.active - step.going_on, [&](int64_t i) {
          const int64_t r = step.going_on + i;
          __builtin_memcpy(f.h_n + rows.index[r] * f.P, y[r], f.P * sizeof(float));
        });
      turn = 1 - turn;
    });
    share(member, rows.size, [&](int64_t r) { clear_padding(f.output, f.T, f.P, rows, r); });
    return kName;
  }
};

template <typename Cell>
constexpr Kernels<float> kQuantizedKernels = {
    Cell::gates,
    Cell::saved,
    Cell::has_c,
    QuantizedForward<Cell>::weights_size,
    nullptr,
    QuantizedForward<Cell>::scratch_size,
    QuantizedForward<Cell>::run,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

/// Kernels that have a forward pass alone, with weights that are packed already.
inline const Kernels<float>* quantized_kernels(const char* cell) {
#define RNNFAST_CASE(name, Cell) \
  if (std::strcmp(cell, name) == 0) return &kQuantizedKernels<Cell>;
  RNNFAST_CELLS(RNNFAST_CASE)
#undef RNNFAST_CASE
  return nullptr;
}
