// tanh and the logistic function where all that is made of them is rounded to 8 bits: within 2^-13 of their value. Made
// of what the target declares:
//
//   pick(table, v)        of each lane's low five bits, what the table of 32 floats has there
//   above_floor(v)        v - floor(v); 0 at infinities
//   times_power(v, y)     v 2^floor(y)
//   rough_inverse(v)      1 / v, 2^-14 of it away at most
//
// NaN goes through all of them. Included inside a target's region, behind these.

/// tanh(x) / x is even and smooth: for |x| within 1/8 of i/4, a + b |x| + c |x|^2 with the i-th coefficients
/// (interpolated at Chebyshev's points).
alignas(64) constexpr float kTanhOverX[3][32] = {
    {1.00000155f,  1.00115955f,  1.01715136f,  1.06172156f, 1.12339103f,  1.17649949f,  1.20288098f,  1.19851851f,
     1.16872501f,  1.12186539f,  1.06566107f,  1.00589263f, 0.946368814f, 0.88934356f,  0.835988164f, 0.786777914f,
     0.741769373f, 0.700785518f, 0.663532555f, 0.62967068f, 0.598854661f, 0.570756078f, 0.54507339f,  0.521536112f,
     0.499904722f, 0.479968816f, 0.461544484f, 0.44447121f, 0.428608984f, 0.413835436f, 0.400043637f, 0.387139708f},
    {-0.000210091879f, -0.0146096162f, -0.097996898f,  -0.240836591f,  -0.382933944f,  -0.478438646f,  -0.517519832f,
     -0.512512028f,    -0.480873883f,  -0.436797559f,  -0.389443845f,  -0.343865156f,  -0.302414685f,  -0.265880436f,
     -0.234230623f,    -0.207054406f,  -0.183803767f,  -0.163916677f,  -0.14687407f,   -0.132221073f,  -0.11957071f,
     -0.108599111f,    -0.0990377292f, -0.0906648636f, -0.0832976848f, -0.0767853186f, -0.0710029304f, -0.0658469051f,
     -0.0612309165f,   -0.0570826866f, -0.0533414632f, -0.0499559194f},
    {-0.329839677f,  -0.285320312f,  -0.17567414f,   -0.0608513094f, 0.0211370904f,  0.0641124994f,  0.0785915479f,
     0.0771612823f,  0.0687591434f,  0.0583915897f,  0.0484150872f,  0.0397239998f,  0.0325066857f,  0.0266543347f,
     0.0219602194f,  0.0182078555f,  0.0152048739f,  0.0127921803f,  0.01084287f,    0.00925758481f, 0.00795922894f,
     0.00688816188f, 0.00599822216f, 0.00525357574f, 0.00462627877f, 0.00409441907f, 0.00364071038f, 0.00325142732f,
     0.00291559892f, 0.00262439833f, 0.00237067719f, 0.00214860961f}};

template <typename V>
RNNFAST_INLINE V rough_tanh(V x) {
  constexpr float last = 7.87f;  // tanh is 1 to 2^-21 from here on
  x = greater(-last - V{}, lesser(last - V{}, x));
  typedef uint32_t Bits __attribute__((vector_size(sizeof(V))));
  const V a = (V)((Bits)x & 0x7fffffff);
  const V piece = a + 3145728.0f;  // 1.5 * 2^21, where floats are 1/4 apart: its low bits are 4 a, rounded
  const V at_0 = pick(kTanhOverX[0], piece), at_1 = pick(kTanhOverX[1], piece), at_2 = pick(kTanhOverX[2], piece);
  return ((at_2 * a + at_1) * a + at_0) * x;
}

/// 1 / (1 + 2^(-x log2 e)), the power by a minimax polynomial of its fraction.
template <typename V>
RNNFAST_INLINE V rough_sigmoid(V x) {
  const V y = x * -1.44269504f, f = above_floor(y);
  const V power = ((0.0780245302f * f + 0.226067146f) * f + 0.695833543f) * f + 0.999925219f;
  return rough_inverse(times_power(power, y) + 1);
}
