// What a target may have single instructions for, without them. Included inside a target's region, ahead of
// kernels.inl.

/// The second argument where either is NaN.
template <typename V>
RNNFAST_INLINE V lesser(V a, V b) {
  return a < b ? a : b;
}

template <typename V>
RNNFAST_INLINE V greater(V a, V b) {
  return a > b ? a : b;
}

/// The first `count` lanes of a vector, the others zero.
template <typename Real>
RNNFAST_INLINE auto load_first(const Real* from, int64_t count) {
  typedef Real V __attribute__((vector_size(kVectorBytes)));
  V v = {};
  __builtin_memcpy(&v, from, count * sizeof(Real));
  return v;
}

/// Writes the first `count` lanes only.
template <typename Real, typename V>
RNNFAST_INLINE void store_first(Real* to, V v, int64_t count) {
  __builtin_memcpy(to, &v, count * sizeof(Real));
}
