// What activations are made of where eight bits are enough. Included inside a target's region, behind avx512.inl.

RNNFAST_INLINE __m512 rough_inverse(__m512 x) { return _mm512_maskz_rcp14_ps(0xffff, x); }
RNNFAST_INLINE __m512 pick(const float (&table)[32], __m512 bits) {
  return _mm512_permutex2var_ps(_mm512_load_ps(table), (__m512i)bits, _mm512_load_ps(table + 16));
}
RNNFAST_INLINE __m512 above_floor(__m512 x) { return _mm512_maskz_reduce_ps(0xffff, x, _MM_FROUND_TO_NEG_INF); }
RNNFAST_INLINE __m512 times_power(__m512 x, __m512 y) { return _mm512_maskz_scalef_ps(0xffff, x, y); }

#include "cpu/narrow/activations.inl"
