// Vec: the target's vector of float or double, in the vector extension that g++ and clang share, and the functions on
// it.

template <typename Real>
struct VecOf {
  typedef Real type __attribute__((vector_size(kVectorBytes)));
};

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

/// The first `count` lanes, the others zero.
template <typename Real>
RNNFAST_INLINE Vec<Real> load_some(const Real* from, int64_t count) {
  if (count == kLanes<Real>) return load(from);
  Vec<Real> v = {};
  __builtin_memcpy(&v, from, count * sizeof(Real));
  return v;
}

/// Writes the first `count` lanes only.
template <typename Real>
RNNFAST_INLINE void store_some(Real* to, Vec<Real> v, int64_t count) {
  if (count == kLanes<Real>) return store(to, v);
  __builtin_memcpy(to, &v, count * sizeof(Real));
}

/// The constants of exp for one floating-point type.
template <typename Real>
struct Exp;

template <>
struct Exp<float> {
  typedef int32_t Bits;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr int terms = 7;              // of the series; the next is under 2^-25 of the sum
  static constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;  // the high part times n is exact
  static constexpr float tanh_is_one = 10.0f;                                 // beyond it tanh is 1 to the last bit
  static constexpr float sigmoid_is_zero = 87.0f;                             // beyond it exp(-x) is no normal number
};

template <>
struct Exp<double> {
  typedef int64_t Bits;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr int terms = 13;
  static constexpr double round = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr double tanh_is_one = 20.0;
  static constexpr double sigmoid_is_zero = 708.0;
};

constexpr double factorial(int n) { return n < 2 ? 1.0 : n * factorial(n - 1); }

/// exp of some number y, in two factors that lose nothing: exp(y) = power (1 + expm1), power being a power of two.
template <typename Real>
struct Exponential {
  Vec<Real> power, expm1;

  /// |y| must be small enough for power to be a normal number.
  RNNFAST_INLINE explicit Exponential(Vec<Real> y) {
    using E = Exp<Real>;
    typedef typename E::Bits Bits __attribute__((vector_size(kVectorBytes)));
    // 1. y = n ln 2 + r with |r| <= ln 2 / 2; n stands in the low bits of `shifted`
    const Vec<Real> shifted = y * Real(1.4426950408889634) + E::round;
    const Vec<Real> n = shifted - E::round;
    const Vec<Real> r = y - n * E::ln2_high - n * E::ln2_low;
    power = (Vec<Real>)(((Bits)shifted << E::mantissa) + (typename E::Bits(E::bias) << E::mantissa));
    // 2. expm1(r) by its series: r + r^2 (1/2! + r/3! + ...), which keeps every bit of a small r
    Vec<Real> series = Real(1 / factorial(E::terms)) - Vec<Real>{};
    RNNFAST_UNROLL
    for (int term = E::terms - 1; term >= 2; --term) series = series * r + Real(1 / factorial(term));
    expm1 = series * (r * r) + r;
  }
};

template <typename Real>
RNNFAST_INLINE Vec<Real> sign_bit(Vec<Real> x) {
  typedef typename Exp<Real>::Bits Bits __attribute__((vector_size(kVectorBytes)));
  return (Vec<Real>)((Bits)x & std::numeric_limits<typename Exp<Real>::Bits>::min());
}

template <typename Real>
RNNFAST_INLINE Vec<Real> exclusive_or(Vec<Real> a, Vec<Real> b) {
  typedef typename Exp<Real>::Bits Bits __attribute__((vector_size(kVectorBytes)));
  return (Vec<Real>)((Bits)a ^ (Bits)b);
}

/// The lesser of |x| and a bound. NaN goes through.
template <typename Real>
RNNFAST_INLINE Vec<Real> bounded_magnitude(Vec<Real> x, Real bound) {
  const Vec<Real> magnitude = exclusive_or<Real>(x, sign_bit<Real>(x));
  return magnitude > bound ? bound - Vec<Real>{} : magnitude;
}

/// tanh(x) = expm1(2|x|) / (expm1(2|x|) + 2), with the sign of x; under 2 units in the last place. NaN goes through.
template <typename Real>
RNNFAST_INLINE Vec<Real> tanh_of(Vec<Real> x) {
  const Exponential<Real> e(bounded_magnitude<Real>(x, Exp<Real>::tanh_is_one) * 2);
  const Vec<Real> expm1 = e.power * e.expm1 + (e.power - 1);
  return exclusive_or<Real>(expm1 / (expm1 + 2), sign_bit<Real>(x));
}

/// 1 / (1 + exp(-x)), as exp(-|x|) / (1 + exp(-|x|)) where x is negative. NaN goes through.
template <typename Real>
RNNFAST_INLINE Vec<Real> sigmoid_of(Vec<Real> x) {
  const Exponential<Real> e(-bounded_magnitude<Real>(x, Exp<Real>::sigmoid_is_zero));
  const Vec<Real> exp = e.power * e.expm1 + e.power;
  return (x < 0 ? exp : 1 - Vec<Real>{}) / (1 + exp);
}

RNNFAST_INLINE Vec<float> tanh(Vec<float> x) { return tanh_of<float>(x); }
RNNFAST_INLINE Vec<double> tanh(Vec<double> x) { return tanh_of<double>(x); }
RNNFAST_INLINE Vec<float> sigmoid(Vec<float> x) { return sigmoid_of<float>(x); }
RNNFAST_INLINE Vec<double> sigmoid(Vec<double> x) { return sigmoid_of<double>(x); }
