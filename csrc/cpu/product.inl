// A product with packed panels, row by row wherever the rows stand.

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
