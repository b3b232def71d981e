// Vec: the target's vector of float or double, in the vector extension that g++ and clang share, and the functions on
// it.

template <typename Real>
struct VecOf {
  typedef Real type __attribute__((vector_size(kVectorBytes)));
};

/// Numbers of 16 bits are widened to float as they are loaded.
template <>
struct VecOf<BFloat16> {};

template <typename Real>
using Vec = typename VecOf<Real>::type;

template <typename Real>
constexpr int kLanes = kVectorBytes / sizeof(Real);

template <typename Real>
RNNFAST_INLINE Vec<Real> load(const Real* from) {
  Vec<Real> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <typename Real>
RNNFAST_INLINE void store(Real* to, Vec<Real> v) {
  __builtin_memcpy(to, &v, sizeof v);
}

/// The first `count` lanes, the others zero; all lanes if `whole`.
template <bool whole = false, typename Real>
RNNFAST_INLINE Vec<Real> load_some(const Real* from, int64_t count) {
  return whole || count == kLanes<Real> ? load(from) : Vec<Real>(load_first(from, count));
}

/// Writes the first `count` lanes only; all lanes if `whole`.
template <bool whole = false, typename Real>
RNNFAST_INLINE void store_some(Real* to, Vec<Real> v, int64_t count) {
  if (whole || count == kLanes<Real>)
    store(to, v);
  else
    store_first(to, v, count);
}

typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));

RNNFAST_INLINE Halves bits_of(const BFloat16* from, int64_t count) {
  Halves bits;
  if (count == kLanes<float>)
    __builtin_memcpy(&bits, from, sizeof bits);
  else
    bits = load_first(from, count);
  return bits;
}

/// Halves; a target may have its own for them.
template <typename H>
RNNFAST_INLINE Vec<float> widened(H bits) {
  return (Vec<float>)(__builtin_convertvector(bits, Bits) << 16);
}

template <bool whole = false>
RNNFAST_INLINE Vec<float> load_some(const BFloat16* from, int64_t count) {
  return widened(bits_of(from, whole ? kLanes<float> : count));
}

template <bool whole = false>
RNNFAST_INLINE void store_some(BFloat16* to, Vec<float> v, int64_t count) {
  const Halves bits = narrowed(v);
  if (whole || count == kLanes<float>)
    __builtin_memcpy(to, &bits, sizeof bits);
  else
    store_first(to, bits, count);
}

/// Writes W vectors, the last one's first `count` lanes only.
template <bool whole, typename To, int W>
RNNFAST_INLINE void store_all(To* to, const Vec<float> (&v)[W], int64_t count) {
  if constexpr (W == 2 && sizeof(To) == sizeof(BFloat16)) {
    const auto bits = narrowed(v[0], v[1]);
    __builtin_memcpy(to, &bits, sizeof bits);
  } else {
    for (int w = 0; w < W; ++w) store_some<whole>(to + w * kLanes<float>, v[w], w + 1 < W ? kLanes<float> : count);
  }
}

/// The constants of exp for one floating-point type.
template <typename Real>
struct Exp;

template <>
struct Exp<float> {
  typedef int32_t Bits;
  static constexpr int mantissa = 23, bias = 127;
  // (expm1(r) - r) / r^2 for |r| <= ln 2 / 2: a minimax polynomial, 1.4e-8 r away at most
  static constexpr float series[] = {0.5000000062f, 0.1666654243f, 0.04166628035f, 0.008366659625f, 0.0013946575f};
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  // Where products are not rounded, ln 2 as a float is enough (2^-28 away); else the high part times n is exact.
  static constexpr bool whole_ln2 = kFused;
  static constexpr float ln2 = 0.693147181f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float tanh_is_one = 10.0f;    // beyond it tanh is 1 to the last bit
  static constexpr float exp_is_normal = 87.0f;  // of numbers up to this magnitude
};

template <>
struct Exp<double> {
  typedef int64_t Bits;
  static constexpr int mantissa = 52, bias = 1023;
  // the same by Taylor's series; its next term is under 2^-54 of the sum
  static constexpr double series[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
                                      1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                                      1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr bool whole_ln2 = false;
  static constexpr double ln2 = 0.6931471805599453, ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr double tanh_is_one = 20.0;
  static constexpr double exp_is_normal = 708.0;
};

/// exp(scale x), scale being 2 or -1, in two factors that lose nothing: power (1 + expm1), power being a power of two.
template <int scale, typename Real>
struct Exponential {
  Vec<Real> power, expm1;

  /// |scale x| must be small enough for power to be a normal number.
  RNNFAST_INLINE explicit Exponential(Vec<Real> x) {
    using E = Exp<Real>;
    typedef typename E::Bits Bits __attribute__((vector_size(kVectorBytes)));
    // 1. scale x = n ln 2 + r with |r| <= ln 2 / 2; n, and the bias of an exponent, stand in the low bits of `shifted`
    const Vec<Real> shifted = x * Real(scale * 1.4426950408889634) + (E::round + E::bias);
    const Vec<Real> n = shifted - (E::round + E::bias);
    Vec<Real> r;
    if constexpr (E::whole_ln2)
      r = x * Real(scale) - n * E::ln2;
    else
      r = x * Real(scale) - n * E::ln2_high - n * E::ln2_low;
    power = (Vec<Real>)((Bits)shifted << E::mantissa);
    // 2. expm1(r) = r + r^2 (1/2! + r/3! + ...), which keeps every bit of a small r
    constexpr int terms = sizeof E::series / sizeof(Real);
    Vec<Real> series = E::series[terms - 1] - Vec<Real>{};
    RNNFAST_UNROLL
    for (int term = terms - 2; term >= 0; --term) series = series * r + E::series[term];
    expm1 = series * (r * r) + r;
  }
};

/// x, but no further from zero than the bound. NaN goes through.
template <typename Real>
RNNFAST_INLINE Vec<Real> within(Real bound, Vec<Real> x) {
  return greater(-bound - Vec<Real>{}, lesser(bound - Vec<Real>{}, x));
}

/// tanh(x) = expm1(2x) / (expm1(2x) + 2); under 2.5 units in the last place. NaN goes through.
template <typename Real>
RNNFAST_INLINE Vec<Real> tanh_of(Vec<Real> x) {
  const Exponential<2, Real> e(within<Real>(Exp<Real>::tanh_is_one, x));
  const Vec<Real> expm1 = e.power * e.expm1 + (e.power - 1);
  return expm1 / (expm1 + 2);
}

/// 1 / (1 + exp(-x)); under 6 units in the last place, and some 3 from 1e-8 on. NaN goes through. Beyond the numbers
/// whose exp is a normal one it is 1, or that of the last one.
template <typename Real>
RNNFAST_INLINE Vec<Real> sigmoid_of(Vec<Real> x) {
  const Exponential<-1, Real> e(within<Real>(Exp<Real>::exp_is_normal, x));
  return 1 / (e.power * e.expm1 + (e.power + 1));
}

template <int pack = kPack>
RNNFAST_INLINE Vec<float> tanh(Vec<float> x) {
  if constexpr (pack == 2)
    return rough_tanh(x);
  else
    return tanh_of<float>(x);
}
RNNFAST_INLINE Vec<double> tanh(Vec<double> x) { return tanh_of<double>(x); }
template <int pack = kPack>
RNNFAST_INLINE Vec<float> sigmoid(Vec<float> x) {
  if constexpr (pack == 2)
    return rough_sigmoid(x);
  else
    return sigmoid_of<float>(x);
}
RNNFAST_INLINE Vec<double> sigmoid(Vec<double> x) { return sigmoid_of<double>(x); }
