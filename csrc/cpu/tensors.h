// What the ops on the CPU share: which numbers they compute in, the kernels of a cell, raw pointers.
#pragma once

#include "arguments.h"
#include "cpu/targets.h"

namespace rnnfast::cpu {

inline void check_type(ScalarType type) {
  RNNFAST_CHECK(type == ScalarType::Float || type == ScalarType::Double,
                "the CPU computes in float32 or float64, and layers and pooled in bfloat16 as well; convert input and "
                "weights to one of them");
}

/// narrow: products of float32 may be those of bfloat16.
template <typename Real>
const Kernels<Real>& kernels_of(int64_t cell, bool narrow = false) {
  check_cell(cell);
  const Target& chosen = target();
  if constexpr (sizeof(Real) == sizeof(BFloat16))
    return *chosen.bf16(kCells[cell]);
  else if constexpr (sizeof(Real) == sizeof(float))
    return *(narrow && chosen.f32_narrow ? chosen.f32_narrow : chosen.f32)(kCells[cell]);
  else
    return *chosen.f64(kCells[cell]);
}

/// Of quantized layers.
inline const Kernels<float>& quantized_kernels_of(int64_t cell) {
  check_cell(cell);
  return *target().int8(kCells[cell]);
}

template <typename Real>
Real* data(const Tensor& tensor) {
  return static_cast<Real*>(tensor.mutable_data_ptr());
}

template <typename Real>
Real* data(const OptionalTensor& tensor) {
  return tensor ? data<Real>(*tensor) : nullptr;
}

}  // namespace rnnfast::cpu
