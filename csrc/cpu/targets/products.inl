// Products of floats, for targets that do not multiply bfloat16. Included inside a target's region, ahead of
// kernels.inl.

#include "cpu/targets/no_tiles.inl"
#include "cpu/targets/rounding.inl"

constexpr int kPack = 1;  // narrow/numbers.inl

/// sum += row * column
template <typename Real, typename V>
RNNFAST_INLINE void add_products(V& sum, const Real* row, V column) {
  sum += *row * column;
}
template <typename V>
RNNFAST_INLINE void add_products(V& sum, V row, V column) {
  sum += row * column;
}

/// About 1 / x.
template <typename V>
RNNFAST_INLINE V rough_inverse(V x) {
  return 1 / x;
}
