// The gated recurrent unit in torch's form (Cho et al., 2014, with the reset gate behind the matrix product). Gates r,
// z, n.
#pragma once

struct Gru {
  static constexpr int gates = 3, sums = 4, saved = 4, slots = 4;
  // Sums: r, z, the part of n from x, the part of n from h.
  static constexpr int x_gate[] = {0, 1, 2, -1}, h_gate[] = {0, 1, -1, 2};
  // Slots: n as W_ih sees it, r, z, n as W_hh sees it.
  static constexpr int x_slot = 0, h_slot = 1, x_order[] = {2, 0, 1}, h_order[] = {0, 1, 2};
  static constexpr bool has_c = false, mixes_h = true, is_bounded = true;

  template <typename V>
  static RNNFAST_INLINE V forward(const V* s, V h_before, V&, V* saved) {
    // 1. r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z likewise
    const V r = sigmoid(s[0]), z = sigmoid(s[1]);
    // 2. n = tanh(W_in x + b_in + r (W_hn h + b_hn))
    const V n = tanh(s[2] + r * s[3]);
    saved[0] = r;
    saved[1] = z;
    saved[2] = n;
    saved[3] = s[3];
    // 3. h_t = (1 - z) n + z h_(t-1)
    return n + z * (h_before - n);
  }

  template <typename V>
  static RNNFAST_INLINE void backward(V dh, V& mix, V&, V, V h_before, V, const V* saved, V* dz) {
    const V r = saved[0], z = saved[1], n = saved[2], h_part = saved[3];
    // 3. of h_t = (1 - z) n + z h_(t-1)
    mix = dh * z;
    const V before_n = dh * (1 - z) * (1 - n * n), before_z = dh * (h_before - n) * z * (1 - z);
    // 2. of n, through the tanh
    dz[0] = before_n;
    dz[3] = before_n * r;
    // 1. of r and z, through the sigmoids
    dz[1] = before_n * h_part * r * (1 - r);
    dz[2] = before_z;
  }
};
