// The arguments of the ops on the CPU: checks of tensors whose errors name argument, rule and value, and raw pointers.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "cpu/targets.h"

namespace rnnfast::cpu {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

/// The cells by the numbers that the ops take, in the order of CELLS in rnnfast/ops.py.
constexpr const char* kCells[] = {"rnn_tanh", "rnn_relu", "gru", "lstm"};

inline std::string text(const std::vector<int64_t>& sizes) {
  std::ostringstream out;
  out << "(";
  for (size_t i = 0; i < sizes.size(); ++i) out << (i ? ", " : "") << sizes[i];
  out << ")";
  return out.str();
}

inline std::vector<int64_t> sizes_of(const Tensor& tensor) {
  return std::vector<int64_t>(tensor.sizes().begin(), tensor.sizes().end());
}

/// The tensor with a contiguous memory layout, after a check of its shape, and of its type, which is that of the
/// argument `like`.
inline Tensor expect(const char* name, const Tensor& tensor, const std::vector<int64_t>& sizes, ScalarType type,
                     const char* like = "input") {
  STD_TORCH_CHECK(sizes_of(tensor) == sizes, "rnnfast: ", name, " must have the shape ", text(sizes),
                  ", got: ", text(sizes_of(tensor)));
  STD_TORCH_CHECK(tensor.is_cpu(), "rnnfast: ", name, " must be on the CPU, as ", like, " is");
  STD_TORCH_CHECK(tensor.scalar_type() == type, "rnnfast: ", name, " must have the dtype of ", like, ", ", type,
                  ", got: ", tensor.scalar_type());
  return torch::stable::contiguous(tensor);
}

/// The numbers of a one-dimensional int64 tensor.
inline std::vector<int64_t> integers(const char* name, const Tensor& tensor) {
  STD_TORCH_CHECK(tensor.dim() == 1 && tensor.is_cpu() && tensor.scalar_type() == ScalarType::Long, "rnnfast: ", name,
                  " must be a one-dimensional int64 tensor on the CPU, got: ", tensor.dim(), " dimensions of ",
                  tensor.scalar_type());
  const Tensor contiguous = torch::stable::contiguous(tensor);
  const auto* data = contiguous.const_data_ptr<int64_t>();
  return std::vector<int64_t>(data, data + contiguous.numel());
}

inline void check_type(ScalarType type) {
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double,
                  "rnnfast: the CPU computes in float32 or float64; convert input and weights to one of them");
}

template <typename Real>
const Kernels<Real>& kernels_of(int64_t cell) {
  STD_TORCH_CHECK(cell >= 0 && cell < static_cast<int64_t>(std::size(kCells)),
                  "rnnfast: cell must be the number of a cell, got: ", cell);
  const Target& chosen = target();
  if constexpr (sizeof(Real) == sizeof(float))
    return *chosen.f32(kCells[cell]);
  else
    return *chosen.f64(kCells[cell]);
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
