// Products of pairs of bfloat16 by VDPBF16PS, which the targets that have it share. Included inside a target's region,
// behind avx512.inl.

constexpr int kPack = 2;  // narrow/numbers.inl

RNNFAST_INLINE Halves narrowed(__m512 v) { return (Halves)_mm512_cvtneps_pbh(v); }

typedef uint16_t TwoHalves __attribute__((vector_size(kVectorBytes)));
RNNFAST_INLINE TwoHalves narrowed(__m512 a, __m512 b) { return (TwoHalves)_mm512_cvtne2ps_pbh(b, a); }

/// Past the caches, at a multiple of 64 bytes; streamed() stands before anyone else may read it.
RNNFAST_INLINE void stream(BFloat16* to, TwoHalves bits) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)bits);
}
RNNFAST_INLINE void streamed() { _mm_sfence(); }

/// sum += both products of each lane's column with one pair of a row
RNNFAST_INLINE void add_products(__m512& sum, const float* row, __m512 column) {
  sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_ps(*row), (__m512bh)column);
}

#include "cpu/targets/avx512_rough.inl"
