// The long short-term memory (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000). Gates i, f,
// g, o.
#pragma once

struct Lstm {
  static constexpr int gates = 4, sums = 4, saved = 5, slots = 4;
  static constexpr int x_gate[] = {0, 1, 2, 3}, h_gate[] = {0, 1, 2, 3};
  static constexpr int x_slot = 0, h_slot = 0, x_order[] = {0, 1, 2, 3}, h_order[] = {0, 1, 2, 3};
  static constexpr bool has_c = true, mixes_h = false, is_bounded = true;

  template <typename V>
  static RNNFAST_INLINE V forward(const V* s, V, V& c, V* saved) {
    // 1. i, f, o = sigmoid(W x + b + U h + b'), g = tanh of the same
    const V i = sigmoid(s[0]), f = sigmoid(s[1]), g = tanh(s[2]), o = sigmoid(s[3]);
    // 2. c_t = f c_(t-1) + i g
    c = f * c + i * g;
    saved[0] = i;
    saved[1] = f;
    saved[2] = g;
    saved[3] = o;
    saved[4] = c;
    // 3. h_t = o tanh(c_t)
    return o * tanh(c);
  }

  template <typename V>
  static RNNFAST_INLINE V output(const V* saved) {
    return saved[3] * tanh(saved[4]);
  }

  template <typename V>
  static RNNFAST_INLINE void backward(V dh, V&, V& dc, V, V, V c_before, const V* saved, V* dz) {
    const V i = saved[0], f = saved[1], g = saved[2], o = saved[3], tanh_c = tanh(saved[4]);
    // 3. of h_t = o tanh(c_t)
    const V before_o = dh * tanh_c * o * (1 - o);
    dc += dh * o * (1 - tanh_c * tanh_c);
    // 2. of c_t = f c_(t-1) + i g, then 1., through the sigmoids and the tanh
    dz[0] = dc * g * i * (1 - i);
    dz[1] = dc * c_before * f * (1 - f);
    dz[2] = dc * i * (1 - g * g);
    dz[3] = before_o;
    dc *= f;
  }
};
