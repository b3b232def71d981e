// The op of one layer in one direction whose weights are bytes, on the CPU. The arithmetic is in int8/forward.inl.
//
// Letters: T time steps, N batch rows, I input size, H hidden size, P width of the hidden state.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "cpu/pass.h"
#include "cpu/tensors.h"

namespace rnnfast::cpu {
namespace {

/// Floating-point operations that a product of bytes takes the time of, at the least.
constexpr double kFaster = 4;

std::tuple<Tensor, Tensor, Tensor> quantized_layer(int64_t cell, const Tensor& input, const Tensor& h0,
                                                   const OptionalTensor& c0, const Tensor& weights,
                                                   const OptionalTensor& lengths, const OptionalTensor& batch_sizes,
                                                   bool batch_first, bool reverse) {
  const Kernels<float>& kernels = quantized_kernels_of(cell);
  RNNFAST_CHECK(input.scalar_type() == ScalarType::Float,
                "input of a quantized layer must be float32, got: ", input.scalar_type());
  const Layout layout(input, lengths, batch_sizes, batch_first);
  RNNFAST_CHECK(c0.has_value() == kernels.has_c, "c0 must ", kernels.has_c ? "be" : "not be", " given for the cell ",
                kCells[cell]);
  RNNFAST_CHECK(h0.dim() == 2, "h0 must have 2 dimensions, got: ", h0.dim());
  RNNFAST_CHECK(!c0 || c0->dim() == 2, "c0 must have 2 dimensions, got: ", c0 ? c0->dim() : 0);
  const int64_t last = input.dim() - 1, I = input.size(last), P = h0.size(1), H = c0 ? c0->size(1) : P;
  const Tensor state = expect("h0", h0, {layout.N, P}, input);
  OptionalTensor cells;
  if (c0) cells = expect("c0", *c0, {layout.N, H}, input);
  const Tensor rows = input.stride(last) == 1 || I == 1 ? input : without_gaps(input);
  const auto sequence = [&](const Tensor& tensor) -> Sequence<float> {
    if (layout.packed()) return {data<float>(tensor), 0, tensor.stride(0), layout.first_row.data()};
    return {data<float>(tensor), tensor.stride(batch_first ? 1 : 0), tensor.stride(batch_first ? 0 : 1), nullptr};
  };

  Forward<float> f{};
  f.T = layout.T;
  f.N = layout.N;
  f.I = I;
  f.H = H;
  f.P = P;
  f.reverse = reverse;
  f.packed = true;
  f.w_hr = P == H ? nullptr : data<float>(state);  // that there is a projection, no more
  const int64_t bytes = kernels.forward_weights_size(f) * static_cast<int64_t>(sizeof(float));
  RNNFAST_CHECK(weights.scalar_type() == ScalarType::Byte && weights.dim() == 1 && weights.size(0) == bytes,
                "weights must be ", bytes, " bytes for a ", kCells[cell], " of ", I, " inputs and ", H,
                " hidden units, got: the shape ", text(sizes_of(weights)), " of ", weights.scalar_type());
  RNNFAST_CHECK(weights.is_cpu(), "weights must be on the CPU");
  const Tensor packed = without_gaps(weights);
  const Tensor output = torch::stable::new_empty(input, layout.sizes(P));
  const Tensor h_n = torch::stable::new_empty(input, {layout.N, P});
  const Tensor c_n = torch::stable::new_empty(input, c0 ? std::vector<int64_t>{layout.N, H} : std::vector<int64_t>{0});
  const Sequence<float> from = sequence(rows);
  f.input = {from.data, from.time_stride, from.row_stride, from.first_row};
  f.h0 = data<float>(state);
  f.c0 = data<float>(cells);
  f.output = sequence(output);
  f.h_n = data<float>(h_n);
  f.c_n = data<float>(c_n);
  if (layout.N == 0) return {output, h_n, c_n};

  const double operations = 2.0 * static_cast<double>(bytes) * static_cast<double>(layout.tokens) / kFaster;
  const int threads = threads_for(operations);
  const double each = operations / static_cast<double>(layout.T) / threads;  // of a time step
  const bool team = threads > layout.N && each > kThreadGrain / 20;
  const int members = team ? static_cast<int>(std::min<int64_t>(threads, (H + 63) / 64)) : 1;
  run<float>({members > 1, members, RowShares(layout.length_data(), layout.T, layout.N, members > 1 ? 1 : threads)},
             {0, kernels.forward_scratch_size(f), 0, [](float*, int64_t, int64_t) {},
              [&](const float*, const RowGroup& group, float* scratch, Member* member) {
                return kernels.forward(f, reinterpret_cast<const float*>(data<uint8_t>(packed)), group, scratch,
                                       member);
              }});
  return {output, h_n, c_n};
}

}  // namespace
}  // namespace rnnfast::cpu

STABLE_TORCH_LIBRARY_IMPL(rnnfast, CPU, m) { m.impl("quantized_layer", TORCH_BOX(&rnnfast::cpu::quantized_layer)); }
