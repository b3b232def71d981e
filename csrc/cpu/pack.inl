// Matrices into the panels that tiles read: panel after panel of columns, row by row, [depth][width]. Each function
// returns the end of what it wrote.

/// The first halves of two vectors in turn, or, if `high`, the second ones.
template <bool high, typename Real, int... lane>
RNNFAST_INLINE Vec<Real> interleave(Vec<Real> a, Vec<Real> b, std::integer_sequence<int, lane...>) {
  constexpr int lanes = sizeof...(lane), first = high ? lanes / 2 : 0;
  return __builtin_shufflevector(a, b, (first + lane / 2 + (lane % 2 ? lanes : 0))...);
}

/// Transposes a square of vectors: in each round a vector and the one half the square behind it are interleaved, which
/// turns the bits of every element's place (row, then lane) by one, until row and lane have changed places.
template <typename Real>
RNNFAST_INLINE void transpose(Vec<Real> (&square)[kLanes<Real>]) {
  constexpr int lanes = kLanes<Real>;
  constexpr std::make_integer_sequence<int, lanes> sequence;
  RNNFAST_UNROLL
  for (int round = 1; round < lanes; round *= 2) {
    Vec<Real> turned[lanes];
    RNNFAST_UNROLL
    for (int i = 0; i < lanes / 2; ++i) {
      turned[2 * i] = interleave<false, Real>(square[i], square[i + lanes / 2], sequence);
      turned[2 * i + 1] = interleave<true, Real>(square[i], square[i + lanes / 2], sequence);
    }
    RNNFAST_UNROLL
    for (int i = 0; i < lanes; ++i) square[i] = turned[i];
  }
}

/// One panel of a matrix whose columns stand `stride` apart: column j at from + j * stride.
template <typename Real>
Real* pack_columns(Real* to, const Real* from, int64_t columns, int64_t depth, int64_t stride) {
  constexpr int lanes = kLanes<Real>;
  const int64_t width = panel_width<Real>(columns);
  for (int64_t k = 0; k < depth; k += lanes)
    for (int64_t j = 0; j < width; j += lanes) {
      const int64_t count = least(lanes, depth - k);
      Vec<Real> square[lanes];
      for (int i = 0; i < lanes; ++i)
        square[i] = j + i < columns ? load_some(from + (j + i) * stride + k, count) : Vec<Real>{};
      transpose<Real>(square);
      for (int i = 0; i < count; ++i) store(to + (k + i) * width + j, square[i]);
    }
  return to + depth * width;
}

/// The same where one column follows another.
template <typename Real>
Real* pack_columns(Real* to, const Real* from, int64_t columns, int64_t depth) {
  return pack_columns(to, from, columns, depth, depth);
}

/// One panel of a matrix whose rows stand `stride` apart.
template <typename Real>
Real* pack_rows(Real* to, const Real* from, int64_t columns, int64_t depth, int64_t stride) {
  const int64_t width = panel_width<Real>(columns);
  for (int64_t k = 0; k < depth; ++k, from += stride, to += width)
    for (int64_t j = 0; j < width; j += kLanes<Real>) {
      const int64_t count = least(kLanes<Real>, columns - j);
      store(to + j, count > 0 ? load_some(from + j, count) : Vec<Real>{});
    }
  return to;
}
