// Products with a matrix where it stands, by rows: for so few rows that packing it would cost more.

/// Columns of a product that are made together.
constexpr int kDots = 4;

template <typename Real>
RNNFAST_INLINE Real sum_of(Vec<Real> v) {
  Real sums[kLanes<Real>];
  store(sums, v);
  for (int half = kLanes<Real> / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

/// sums[m][j] += the products of rows[m] and weights[j], lane by lane.
template <int M, typename Real>
RNNFAST_INLINE void multiply_lanes(const Real* const* rows, const Real* const (&weights)[kDots], int64_t depth,
                                   Vec<Real> (&sums)[M][kDots]) {
  for (int64_t k = 0; k < depth; k += kLanes<Real>) {
    const int64_t count = least(kLanes<Real>, depth - k);
    Vec<Real> columns[kDots];
    RNNFAST_UNROLL
    for (int j = 0; j < kDots; ++j) columns[j] = load_some(weights[j] + k, count);
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) {
      const Vec<Real> row = load_some(rows[m] + k, count);
      RNNFAST_UNROLL
      for (int j = 0; j < kDots; ++j) sums[m][j] += row * columns[j];
    }
  }
}

/// A matrix [columns][depth] and the rows that it multiplies; no rows: there is no such product.
template <typename Real>
struct Factor {
  const Real* weights;
  const Real* const* rows;
  int64_t depth;
};

/// to[m * stride + j] += rows[m] . weights[j] of both factors, for some columns.
template <int M, typename Real>
void add_dots(Real* to, int64_t stride, const Factor<Real> (&factors)[2], int64_t columns) {
  for (int64_t first = 0; first < columns; first += kDots) {
    const int64_t some = least(kDots, columns - first);
    Vec<Real> sums[M][kDots] = {};
    for (const Factor<Real>& factor : factors) {
      if (!factor.rows) continue;
      const Real* weights[kDots];
      for (int j = 0; j < kDots; ++j) weights[j] = factor.weights + (first + least(j, some - 1)) * factor.depth;
      multiply_lanes<M, Real>(factor.rows, weights, factor.depth, sums);
    }
    for (int m = 0; m < M; ++m)
      for (int64_t j = 0; j < some; ++j) to[m * stride + first + j] += sum_of<Real>(sums[m][j]);
  }
}

/// The same for any number of rows.
template <typename Real>
void add_dots_of(int64_t count, Real* to, int64_t stride, const Factor<Real> (&factors)[2], int64_t columns) {
  constexpr int64_t most = 4;
  for (int64_t row = 0; row < count; row += most) {
    const Factor<Real> some[2] = {
        {factors[0].weights, factors[0].rows ? factors[0].rows + row : nullptr, factors[0].depth},
        {factors[1].weights, factors[1].rows ? factors[1].rows + row : nullptr, factors[1].depth}};
    Real* const at = to + row * stride;
    switch (least(most, count - row)) {
      case 1:
        add_dots<1>(at, stride, some, columns);
        break;
      case 2:
        add_dots<2>(at, stride, some, columns);
        break;
      case 3:
        add_dots<3>(at, stride, some, columns);
        break;
      default:
        add_dots<4>(at, stride, some, columns);
    }
  }
}
