// Products with a matrix where it stands, by rows: for so few vectors that packing it would cost more.

/// The most vectors that are multiplied that way.
constexpr int64_t kFewVectors = 32;

/// So few vectors that packing the weights would take longer than it saves. Every step goes through all weights, which
/// panels make cheaper, most of all for one row.
inline bool are_few(int64_t T, int64_t N) { return T * N <= (T <= 8 ? kFewVectors : kFewVectors / 2); }

/// Sums that a tile of dots keeps in registers.
constexpr int kDotSums = kTileRows * kTileVectors >= 20 ? 16 : 8;

/// Columns of a product that are made together, for M rows.
template <int M>
constexpr int kDots = kDotSums / M >= 8   ? 8
                      : kDotSums / M >= 4 ? 4
                                          : 2;

/// The sum of each of as many vectors as there are lanes, in its lane: every round adds the halves of two into one.
template <typename Real>
RNNFAST_INLINE Vec<Real> sums_of(Vec<Real> (&v)[kLanes<Real>]) {
  constexpr std::make_integer_sequence<int, kLanes<Real>> sequence;
  RNNFAST_UNROLL
  for (int half = kLanes<Real> / 2; half > 0; half /= 2) {
    RNNFAST_UNROLL
    for (int i = 0; i < half; ++i) {
      const Vec<Real> a = v[i], b = v[i + half];
      v[i] = interleave<false, Real>(a, b, sequence) + interleave<true, Real>(a, b, sequence);
    }
  }
  return v[0];
}

/// sums[m][j] += the products of rows[m] and weights[j], lane by lane.
template <int M, int J, typename Real>
RNNFAST_INLINE void multiply_lanes(const Real* const* rows, const Real* const (&weights)[J], int64_t depth,
                                   Vec<Real> (&sums)[M][J]) {
  const int64_t whole = depth - depth % kLanes<Real>;
  for (int64_t k = 0; k < whole; k += kLanes<Real>) {
    Vec<Real> row[M];
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) row[m] = load(rows[m] + k);
    RNNFAST_UNROLL
    for (int j = 0; j < J; ++j) {
      const Vec<Real> column = load(weights[j] + k);
      RNNFAST_UNROLL
      for (int m = 0; m < M; ++m) sums[m][j] += row[m] * column;
    }
  }
  if (whole == depth) return;
  Vec<Real> row[M];
  RNNFAST_UNROLL
  for (int m = 0; m < M; ++m) row[m] = load_some(rows[m] + whole, depth - whole);
  RNNFAST_UNROLL
  for (int j = 0; j < J; ++j) {
    const Vec<Real> column = load_some(weights[j] + whole, depth - whole);
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) sums[m][j] += row[m] * column;
  }
}

/// A matrix [columns][depth] and the rows that it multiplies; no rows: there is no such product.
template <typename Real>
struct Factor {
  const Real* weights;
  const Real* const* rows;
  int64_t depth;
};

/// to[m * stride + j] += rows[m] . weights[j] of both factors, for the columns [first, first + some).
template <int M, typename Real>
void add_dots(Real* to, int64_t stride, const Factor<Real> (&factors)[2], int64_t row, int64_t first, int64_t some) {
  constexpr int J = kDots<M>, lanes = kLanes<Real>;
  Vec<Real> sums[M][J] = {};
  for (const Factor<Real>& factor : factors) {
    if (!factor.rows) continue;
    const Real* weights[J];
    for (int j = 0; j < J; ++j) weights[j] = factor.weights + (first + least(j, some - 1)) * factor.depth;
    multiply_lanes<M, J, Real>(factor.rows + row, weights, factor.depth, sums);
  }
  Real found[divide_up(M * J, lanes) * lanes];
  RNNFAST_UNROLL
  for (int begin = 0; begin < M * J; begin += lanes) {
    Vec<Real> some_of_them[lanes] = {};
    RNNFAST_UNROLL
    for (int i = 0; i < lanes; ++i)
      if (begin + i < M * J) some_of_them[i] = sums[(begin + i) / J][(begin + i) % J];
    store(found + begin, sums_of<Real>(some_of_them));
  }
  for (int m = 0; m < M; ++m)
    for (int64_t j = 0; j < some; ++j) to[(row + m) * stride + first + j] += found[m * J + j];
}

/// The same for any number of rows and columns. The rows are the inner loop: so few columns of the weights stay in the
/// L1 cache while all rows go by.
template <typename Real>
void add_dots_of(int64_t rows, Real* to, int64_t stride, const Factor<Real> (&factors)[2], int64_t columns) {
  constexpr int most = 4;
  const int width = rows == 1 ? kDots<1> : rows == 2 ? kDots<2> : kDots<most>;
  for (int64_t first = 0; first < columns; first += width) {
    const int64_t some = least(width, columns - first);
    int64_t row = 0;
    for (; row + most <= rows; row += most) add_dots<most>(to, stride, factors, row, first, some);
    if (rows - row == 3) {
      add_dots<3>(to, stride, factors, row, first, some);
      continue;
    }
    for (; row < rows; row += 2) {
      // A single row, or a last one, takes more columns at a time.
      if (rows - row == 1)
        for (int64_t from = 0; from < some; from += kDots<1>)
          add_dots<1>(to, stride, factors, row, first + from, least(kDots<1>, some - from));
      else
        for (int64_t from = 0; from < some; from += kDots<2>)
          add_dots<2>(to, stride, factors, row, first + from, least(kDots<2>, some - from));
    }
  }
}
