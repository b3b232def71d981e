// Products of operands with a matrix of the caller where it stands: for so few rows that packing it would cost more.

/// Columns of such a product that are made together.
constexpr int kOperandDots = 4;

/// to[m * stride + j] += rows[m] . weights[j] over `depth` numbers, for some columns. The rows are filled up with
/// zeros.
template <typename From>
void add_operand_dots(float* to, int64_t stride, const From* weights, int64_t columns, const float* const* rows,
                      int64_t count, int64_t depth) {
  for (int64_t first = 0; first < columns; first += kOperandDots) {
    const int64_t some = least(kOperandDots, columns - first);
    const From* column[kOperandDots];
    for (int j = 0; j < kOperandDots; ++j) column[j] = weights + (first + least(j, some - 1)) * depth;
    for (int64_t m = 0; m < count; ++m) {
      Vec<float> sums[kLanes<float>] = {};
      for (int64_t k = 0; k < depth; k += kLanes<float> * kPack) {
        const int64_t numbers = least(kLanes<float> * kPack, depth - k);
        const Vec<float> row = load_some(rows[m] + k / kPack, least(kLanes<float>, divide_up(numbers, kPack)));
        RNNFAST_UNROLL
        for (int j = 0; j < kOperandDots; ++j) add_products(sums[j], row, words_along(column[j] + k, numbers));
      }
      float found[kLanes<float>];
      store(found, sums_of<float>(sums));
      for (int64_t j = 0; j < some; ++j) to[m * stride + first + j] += found[j];
    }
  }
}
