// From float to bfloat16 without an instruction for it. Included inside a target's region, ahead of kernels.inl.

/// The nearest, of two the even one. NaN stays NaN.
template <typename V>
RNNFAST_INLINE Halves narrowed(V v) {
  typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
  const Bits bits = (Bits)v, rounded = bits + 0x7fff + (bits >> 16 & 1);
  return __builtin_convertvector((v == v ? rounded : bits | 0x400000) >> 16, Halves);
}

/// The same of two vectors.
template <typename V>
RNNFAST_INLINE auto narrowed(V a, V b) {
  struct {
    Halves first, second;
  } both = {narrowed(a), narrowed(b)};
  return both;
}
