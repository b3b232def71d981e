// Products of pairs of bfloat16 by VDPBF16PS, which the targets that have it share. Included inside a target's region,
// behind avx512.inl.

constexpr int kPack = 2;  // narrow/numbers.inl

RNNFAST_INLINE Halves narrowed(__m512 v) { return (Halves)_mm512_cvtneps_pbh(v); }

/// sum += both products of each lane's pairs
RNNFAST_INLINE void add_products(__m512& sum, __m512 row, __m512 column) {
  sum = _mm512_dpbf16_ps(sum, (__m512bh)row, (__m512bh)column);
}
/// The same with one pair of a row.
RNNFAST_INLINE void add_products(__m512& sum, const float* row, __m512 column) {
  add_products(sum, _mm512_set1_ps(*row), column);
}

/// 1 / x, 2^-14 of it away at most.
RNNFAST_INLINE __m512 rough_inverse(__m512 x) { return _mm512_maskz_rcp14_ps(0xffff, x); }
