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

// Of narrow/activations.inl, which such targets do not include.
template <typename V>
V rough_tanh(V x);
template <typename V>
V rough_sigmoid(V x);
