// The cells of csrc/cells as the kernels use them: one hidden unit of one batch row in a thread's registers.
#pragma once

#include "cuda/device.h"

#define RNNFAST_INLINE __device__ __forceinline__

namespace rnnfast::cuda {

template <typename V>
RNNFAST_INLINE V sigmoid(V x) {
  return reciprocal(1 + exponential(-x));
}

template <typename V>
RNNFAST_INLINE V tanh(V x) {
  return hyperbolic_tangent(x);
}

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
