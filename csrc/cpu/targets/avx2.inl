// What targets with vectors of 32 bytes share. Included inside a target's region, ahead of vec.inl.

constexpr int kVectorBytes = 32;
constexpr bool kFused = true;

// The second argument where either is NaN.
RNNFAST_INLINE __m256 lesser(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
RNNFAST_INLINE __m256d lesser(__m256d a, __m256d b) { return _mm256_min_pd(a, b); }
RNNFAST_INLINE __m256 greater(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
RNNFAST_INLINE __m256d greater(__m256d a, __m256d b) { return _mm256_max_pd(a, b); }

// The first `count` lanes; the others are zero, or left alone.
RNNFAST_INLINE __m256i first_lanes32(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
RNNFAST_INLINE __m256i first_lanes64(int64_t count) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
RNNFAST_INLINE __m256 load_first(const float* p, int64_t count) { return _mm256_maskload_ps(p, first_lanes32(count)); }
RNNFAST_INLINE __m256d load_first(const double* p, int64_t count) {
  return _mm256_maskload_pd(p, first_lanes64(count));
}
RNNFAST_INLINE void store_first(float* p, __m256 v, int64_t count) { _mm256_maskstore_ps(p, first_lanes32(count), v); }
RNNFAST_INLINE void store_first(double* p, __m256d v, int64_t count) {
  _mm256_maskstore_pd(p, first_lanes64(count), v);
}
