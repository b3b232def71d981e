// The Elman cell, h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), with f = tanh or relu.
//
// Both derivatives follow from the output alone, so the forward pass saves nothing but h.
#pragma once

struct Elman {
  static constexpr int gates = 1, sums = 1, saved = 0, slots = 1;
  static constexpr int x_gate[] = {0}, h_gate[] = {0};
  static constexpr int x_slot = 0, h_slot = 0, x_order[] = {0}, h_order[] = {0};
  static constexpr bool has_c = false, mixes_h = false;
};

struct Tanh : Elman {
  static constexpr bool is_bounded = true;

  // 1. h = tanh(z)
  template <typename V>
  static RNNFAST_INLINE V forward(const V* z, V, V&, V*) {
    return tanh(z[0]);
  }

  // 2. dz = dh (1 - h^2)
  template <typename V>
  static RNNFAST_INLINE void backward(V dh, V&, V&, V h, V, V, const V*, V* dz) {
    dz[0] = dh - dh * h * h;
  }
};

struct Relu : Elman {
  static constexpr bool is_bounded = false;

  // 1. h = max(z, 0); the comparison is written so that NaN goes through
  template <typename V>
  static RNNFAST_INLINE V forward(const V* z, V, V&, V*) {
    return z[0] < 0 ? V{} : z[0];
  }

  // 2. dz = dh where h > 0; as in torch, the gradient at NaN goes through
  template <typename V>
  static RNNFAST_INLINE void backward(V dh, V&, V&, V h, V, V, const V*, V* dz) {
    dz[0] = h <= 0 ? V{} : dh;
  }
};
