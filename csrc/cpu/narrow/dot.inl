// Products of operands with a matrix of the caller where it stands: for so few rows that packing it would cost more.

/// Columns of such a product that are made together, for M rows: their sums are added up lane by lane at once.
template <int M>
constexpr int kOperandDots = least(8, kLanes<float> / M);

/// to[m * stride + j] += rows[m] . weights[j] over `depth` numbers, for M rows and, at most, as many columns.
template <int M, typename From>
void add_operand_dots_of(float* to, int64_t stride, const From* weights, int64_t columns, const float* const* rows,
                         int64_t depth) {
  constexpr int J = kOperandDots<M>;
  const From* column[J];
  for (int j = 0; j < J; ++j) column[j] = weights + least(j, columns - 1) * depth;
  Vec<float> sums[kLanes<float>] = {};
  for (int64_t k = 0; k < depth; k += kLanes<float> * kPack) {
    const int64_t numbers = least(kLanes<float> * kPack, depth - k);
    Vec<float> row[M];
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m)
      row[m] = load_some(rows[m] + k / kPack, least(kLanes<float>, divide_up(numbers, kPack)));
    RNNFAST_UNROLL
    for (int j = 0; j < J; ++j) {
      const Vec<float> words = words_along(column[j] + k, numbers);
      RNNFAST_UNROLL
      for (int m = 0; m < M; ++m) add_products(sums[m * J + j], row[m], words);
    }
  }
  float found[kLanes<float>];
  store(found, sums_of<float>(sums));
  for (int m = 0; m < M; ++m)
    for (int64_t j = 0; j < columns; ++j) to[m * stride + j] += found[m * J + j];
}

/// to[m * stride + j] += rows[m] . weights[j] over `depth` numbers, for some columns. The rows are filled up with
/// zeros.
template <int M = 4, typename From>
void add_operand_dots(float* to, int64_t stride, const From* weights, int64_t columns, const float* const* rows,
                      int64_t count, int64_t depth) {
  if constexpr (M > 1)
    if (count < M) return add_operand_dots<M / 2>(to, stride, weights, columns, rows, count, depth);
  constexpr int J = kOperandDots<M>;
  for (int64_t first = 0; first < columns; first += J) {
    const int64_t some = least(J, columns - first);
    for (int64_t m = 0; m + M <= count; m += M)
      add_operand_dots_of<M>(to + m * stride + first, stride, weights + first * depth, some, rows + m, depth);
  }
  const int64_t done = count - count % M;
  if constexpr (M > 1)
    if (done < count)
      add_operand_dots<M / 2>(to + done * stride, stride, weights, columns, rows + done, count - done, depth);
}
