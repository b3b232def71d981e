// From float to bfloat16 without an instruction for it. Included inside a target's region, ahead of kernels.inl.

/// The nearest, of two the even one. NaN stays NaN.
template <typename V>
RNNFAST_INLINE Halves narrowed(V v) {
  typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
  const Bits bits = (Bits)v, rounded = bits + 0x7fff + (bits >> 16 & 1);
  return __builtin_convertvector((v == v ? rounded : bits | 0x400000) >> 16, Halves);
}

/// The same of two vectors.
struct TwoHalves {
  Halves first, second;
};
template <typename V>
RNNFAST_INLINE TwoHalves narrowed(V a, V b) {
  return {narrowed(a), narrowed(b)};
}

// Past the caches, where the target has an instruction for that.
RNNFAST_INLINE void stream(BFloat16* to, TwoHalves bits) { __builtin_memcpy(to, &bits, sizeof bits); }
RNNFAST_INLINE void streamed() {}
