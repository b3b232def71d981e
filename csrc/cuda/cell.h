// The cells of csrc/cells as the kernels use them: one hidden unit of one batch row in a thread's registers.
#pragma once

#include "cuda/device.h"

#define RNNFAST_INLINE __device__ __forceinline__

namespace rnnfast::cuda {

template <typename V>
RNNFAST_INLINE V sigmoid(V x) {
  return reciprocal(1 + exponential(-x));
}

/// Within 5e-7 of it, in proportion, by the errors that the instructions are said to have, and without a branch: near 0
/// by a polynomial in x^2, a least-squares fit of (tanh(x) / x - 1) / x^2, else by the exponential, which would cancel
/// there.
RNNFAST_INLINE float tanh(float x) {
  const float size = x < 0 ? -x : x, square = x * x;
  const float large = 1 - 2 * reciprocal(1 + exponential(2 * size));
  const float small = -0.33332941f + square * (0.13320643f + square * (-0.05266803f + square * 0.01643201f));
  return size < 0.55f ? x + x * square * small : x < 0 ? -large : large;
}

RNNFAST_INLINE double tanh(double x) { return ::tanh(x); }

#include "cells/cells.h"

/// A cell's tables by value: device code cannot take the address of a constant that the host defines.
template <typename Cell>
struct Tables {
  int x_gate[Cell::sums] = {}, h_gate[Cell::sums] = {}, x_order[Cell::gates] = {}, h_order[Cell::gates] = {};

  constexpr Tables() {
    for (int s = 0; s < Cell::sums; ++s) {
      x_gate[s] = Cell::x_gate[s];
      h_gate[s] = Cell::h_gate[s];
    }
    for (int g = 0; g < Cell::gates; ++g) {
      x_order[g] = Cell::x_order[g];
      h_order[g] = Cell::h_order[g];
    }
  }
};

/// Room for what a cell saves; C++ has no arrays of none.
template <typename Cell>
inline constexpr int kSaved = Cell::saved > 0 ? Cell::saved : 1;

/// What the sums of a type are made of.
template <typename Element>
struct SumOf {
  typedef float Type;
};
template <>
struct SumOf<double> {
  typedef double Type;
};

}  // namespace rnnfast::cuda
