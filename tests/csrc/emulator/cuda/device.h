// Stands in for csrc/cuda/device.h where the kernels run in the emulator: the same functions, as plain C++.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#define RNNFAST_UNROLL _Pragma("GCC unroll 16")

namespace rnnfast::cuda {

/// 11 significant bits.
struct Half {
  _Float16 value;
};

/// The upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

inline float to_sum(float x) { return x; }
inline double to_sum(double x) { return x; }
inline float to_sum(Half x) { return float(x.value); }
inline float to_sum(BFloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

template <typename Element, typename Sum>
Element from_sum(Sum x) {
  return static_cast<Element>(x);
}
template <>
inline Half from_sum<Half>(float x) {
  return {_Float16(x)};
}
template <>
inline BFloat16 from_sum<BFloat16>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return {0x7fff};
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline float exponential(float x) { return std::exp(x); }
inline double exponential(double x) { return std::exp(x); }
inline float reciprocal(float x) { return 1 / x; }
inline double reciprocal(double x) { return 1 / x; }
inline float hyperbolic_tangent(float x) { return std::tanh(x); }
inline double hyperbolic_tangent(double x) { return std::tanh(x); }

inline char* shared_memory() { return emulator::shared_memory(); }

}  // namespace rnnfast::cuda
