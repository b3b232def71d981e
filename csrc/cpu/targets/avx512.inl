// What targets with vectors of 64 bytes share. Included inside a target's region, ahead of kernels.inl.

constexpr int kVectorBytes = 64;
constexpr bool kFused = true;

// The second argument where either is NaN. All lanes, by a mask: g++ 12 warns of what its header does without one.
RNNFAST_INLINE __m512 lesser(__m512 a, __m512 b) { return _mm512_maskz_min_ps(0xffff, a, b); }
RNNFAST_INLINE __m512d lesser(__m512d a, __m512d b) { return _mm512_maskz_min_pd(0xff, a, b); }
RNNFAST_INLINE __m512 greater(__m512 a, __m512 b) { return _mm512_maskz_max_ps(0xffff, a, b); }
RNNFAST_INLINE __m512d greater(__m512d a, __m512d b) { return _mm512_maskz_max_pd(0xff, a, b); }

// The first `count` lanes; the others are zero, or left alone.
RNNFAST_INLINE __mmask16 first_lanes(int64_t count) { return (1u << count) - 1; }
RNNFAST_INLINE __m512 load_first(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(first_lanes(count), p); }
RNNFAST_INLINE __m512d load_first(const double* p, int64_t count) {
  return _mm512_maskz_loadu_pd(first_lanes(count), p);
}
RNNFAST_INLINE void store_first(float* p, __m512 v, int64_t count) { _mm512_mask_storeu_ps(p, first_lanes(count), v); }
RNNFAST_INLINE void store_first(double* p, __m512d v, int64_t count) {
  _mm512_mask_storeu_pd(p, first_lanes(count), v);
}

typedef uint16_t Halves __attribute__((vector_size(32)));
// g++ 12 takes two halves and puts them together.
RNNFAST_INLINE __m512 widened(Halves bits) {
  return (__m512)_mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)bits), 16);
}
RNNFAST_INLINE Halves load_first(const BFloat16* p, int64_t count) {
  return (Halves)_mm256_maskz_loadu_epi16(first_lanes(count), p);
}
RNNFAST_INLINE void store_first(BFloat16* p, Halves bits, int64_t count) {
  _mm256_mask_storeu_epi16(p, first_lanes(count), (__m256i)bits);
}

/// The lowest byte of each lane.
typedef uint32_t Words __attribute__((vector_size(64)));
RNNFAST_INLINE __m128i low_bytes(Words words) { return _mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)words); }
