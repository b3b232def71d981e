// tanh and the logistic function as in narrow/activations.inl, for targets that look nothing up in a table. Included
// inside a target's region, behind rough_inverse, which is 1 / x, 2^-11 of it away at most.

/// exp(scale x) by a polynomial, 2^-12 of it away at most, and its distance from 1 by 2^-11 of that. NaN goes through.
template <typename V>
RNNFAST_INLINE V rough_exp(float scale, V x) {
  typedef int32_t Bits __attribute__((vector_size(sizeof(V))));
  constexpr float shift = 12582912.0f + 127;  // 1.5 * 2^23, to which adding rounds to a whole number, and the bias
  // 1. scale x = (n + f) ln 2 with |f| <= 1/2; n, and the bias of an exponent, stand in the low bits of `shifted`
  const V y = greater(-126.0f - V{}, lesser(126.0f - V{}, x * (scale * 1.44269504f)));
  const V shifted = y + shift, f = y - (shifted - shift);
  // 2. 2^f = 1 + f (a minimax polynomial)
  const V power = ((0.0555039f * f + 0.24202876f) * f + 0.6931783f) * f + 1;
  return power * (V)((Bits)shifted << 23);
}

template <typename V>
RNNFAST_INLINE V rough_tanh(V x) {
  const V e = rough_exp(2, x);
  return (e - 1) * rough_inverse(e + 1);
}

template <typename V>
RNNFAST_INLINE V rough_sigmoid(V x) {
  return rough_inverse(rough_exp(-1, x) + 1);
}
