// The ops of one layer on the CPU: tensors to raw pointers, work to threads. The arithmetic is in forward.inl and
// backward.inl.
//
// Letters: T time steps, N batch rows, I input size, H hidden size, G gates of the cell.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cpu/blocks.h"
#include "cpu/pass.h"
#include "cpu/targets.h"
#include "cpu/tensors.h"

namespace rnnfast::cpu {
namespace {

/// Numbers from which pages of the system count: large ones, or those of a block that was used before.
constexpr int64_t kLargeBlock = 1 << 19;

/// Operations and hidden units of a time step, for each member of a team, below which meeting costs more than it saves.
constexpr double kStepGrain = 5e4;
constexpr int64_t kLeastUnits = 64;

template <typename Real>
Sequence<Real> sequence(const Layout& layout, const Tensor& tensor) {
  auto* data = static_cast<Real*>(tensor.mutable_data_ptr());
  if (layout.packed()) return {data, 0, tensor.stride(0), layout.first_row.data()};
  return {data, tensor.stride(layout.batch_first ? 1 : 0), tensor.stride(layout.batch_first ? 0 : 1), nullptr};
}

template <typename Real>
Sequence<Real> sequence(const Layout& layout, const OptionalTensor& tensor) {
  return tensor ? sequence<Real>(layout, *tensor) : Sequence<Real>{};
}

/// Weights that leave the L2 cache between two time steps come back at every step, to each thread. Rows for each member
/// of a team below which that takes longer than the arithmetic: they share the weights instead.
constexpr int64_t kFarBytes = 1 << 20;
constexpr int64_t kFarRows = 16;

/// Threads that sweep batch rows of their own, or, where there are fewer rows than threads, few rows for large weights
/// or a single step, a team that shares the hidden units of every time step. elements: of all matrices of the layer; H:
/// hidden units.
Plan plan_for(const Layout& layout, int64_t elements, int64_t bytes, int64_t H) {
  const double operations = 2.0 * elements * layout.tokens;
  const int threads = threads_for(operations);
  const double shared = std::min<double>(
      {static_cast<double>(threads), operations / layout.T / kStepGrain, static_cast<double>(H) / kLeastUnits});
  const int members = std::max(1, static_cast<int>(shared));
  const bool few = members > layout.N || (bytes > kFarBytes && layout.N <= kFarRows * members) || layout.T == 1;
  const bool team = members > 1 && layout.N > 0 && few && layout.N <= kGroupRows;
  return {team, team ? members : 1, RowShares(layout.length_data(), layout.T, layout.N, team ? 1 : threads)};
}

/// The input with a contiguous innermost dimension; the outer strides are free.
Tensor input_rows(const Tensor& input) {
  const int64_t last = input.dim() - 1;
  return input.stride(last) == 1 || input.size(last) == 1 ? input : without_gaps(input);
}

/// The layer and who computes it.
template <typename Real>
struct Call : Arguments {
  const Kernels<Real>& kernels;
  Tensor rows;  // the input with a contiguous innermost dimension

  Call(const Kernels<Real>& kernels, Arguments arguments)
      : Arguments(std::move(arguments)), kernels(kernels), rows(input_rows(input)) {}

  Layer<Real> layer() const {
    return {layout.T,
            layout.N,
            I,
            H,
            P,
            reverse,
            data<Real>(w_ih),
            data<Real>(w_hh),
            data<Real>(w_hr),
            data<Real>(b_ih),
            data<Real>(b_hh),
            sequence<const Real>(layout, rows),
            data<Real>(h0),
            data<Real>(c0)};
  }

  Plan plan() const {
    const int64_t elements = G * H * (I + P);
    return plan_for(layout, elements, elements * sizeof(Real), H);
  }

  /// What the caller gets: in torch's own memory, which he may resize, as FSDP does to free it.
  Tensor empty(const std::vector<int64_t>& sizes) const {
    const Tensor made = fresh(sizes);
    const int64_t bytes = made.numel() * sizeof(Real);
    if (made.numel() >= kLargeBlock) prefer_huge_pages(made.mutable_data_ptr(), bytes);
    return made;
  }

  /// What nobody but the backward pass sees: in memory that was used before, if it is large.
  Tensor reserved(const std::vector<int64_t>& sizes) const {
    const int64_t numbers = std::accumulate(sizes.begin(), sizes.end(), int64_t(1), std::multiplies<>());
    if (numbers < kLargeBlock) return fresh(sizes);
    return torch::stable::from_blob(take_block(numbers * sizeof(Real)), sizes, strides_of(sizes), input.device(),
                                    input.scalar_type(), give_block);
  }

 private:
  static std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes) {
    std::vector<int64_t> strides(sizes.size(), 1);
    for (size_t i = sizes.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * std::max<int64_t>(1, sizes[i]);
    return strides;
  }

  /// As torch::stable::new_empty, which looks its operator up by name: a microsecond for each tensor of a short call.
  Tensor fresh(const std::vector<int64_t>& sizes) const {
    int32_t dtype;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(input.get(), &dtype));
    AtenTensorHandle made;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                           strides_of(sizes).data(), dtype,
                                                           aoti_torch_device_type_cpu(), 0, &made));
    return Tensor(made);
  }
};

template <typename Real>
FourTensors forward(const Call<Real>& a, int64_t keep) {
  const Kernels<Real>& kernels = a.kernels;
  const Kept kept(a, keep);
  Tensor output = a.empty(a.layout.sizes(a.P));
  Tensor h_n = a.empty({a.layout.N, a.P});
  Tensor c_n = a.empty(kernels.has_c ? std::vector<int64_t>{a.layout.N, a.H} : std::vector<int64_t>{0});
  Tensor reserve = a.reserved(kept.sizes);
  const Plan plan = a.plan();
  Forward<Real> f{a.layer(),
                  sequence<Real>(a.layout, output),
                  data<Real>(h_n),
                  data<Real>(c_n),
                  kept.all ? sequence<Real>(a.layout, reserve) : Sequence<Real>{},
                  kept.cells ? sequence<Real>(a.layout, reserve) : Sequence<Real>{}};
  f.once = a.layout.tokens <= kGroupRows && plan.shares.threads() == 1 && plan.shares.groups(0).size() == 1;
  run<Work<Real>>(
      plan, {kernels.forward_weights_size(f), kernels.forward_scratch_size(f), 0,
             [&](Work<Real>* weights, int64_t part, int64_t parts) { kernels.pack_forward(f, weights, part, parts); },
             [&](const Work<Real>* weights, const RowGroup& group, Work<Real>* scratch, Member* member) {
               return kernels.forward(f, weights, group, scratch, member);
             }});
  return {output, h_n, c_n, reserve};
}

template <typename Real>
EightTensors backward(const Call<Real>& a, const Given& given, bool input_gradient, bool state_gradient) {
  const Kernels<Real>& kernels = a.kernels;
  const Layout& layout = a.layout;
  const std::vector<int64_t> none{0};
  Tensor grad_input = a.empty(input_gradient ? layout.sizes(a.I) : none);
  Tensor grad_h0 = a.empty({layout.N, a.P});
  Tensor grad_c0 = a.empty(kernels.has_c ? std::vector<int64_t>{layout.N, a.H} : none);
  Tensor grad_w_ih = a.empty({a.G * a.H, a.I}), grad_w_hh = a.empty({a.G * a.H, a.P});
  Tensor grad_w_hr = a.empty(a.w_hr ? std::vector<int64_t>{a.P, a.H} : none);
  Tensor grad_b_ih = a.empty({a.G * a.H}), grad_b_hh = a.empty({a.G * a.H});
  const Plan plan = a.plan();
  const Backward<Real> b{a.layer(),
                         sequence<const Real>(layout, given.output),
                         sequence<const Real>(layout, given.reserve),
                         sequence<const Real>(layout, given.cells),
                         sequence<const Real>(layout, given.grad_output),
                         data<Real>(given.grad_h_n),
                         data<Real>(given.grad_c_n),
                         input_gradient ? sequence<Real>(layout, grad_input) : Sequence<Real>{},
                         data<Real>(grad_h0),
                         data<Real>(grad_c0),
                         data<Real>(grad_w_ih),
                         data<Real>(grad_w_hh),
                         data<Real>(grad_w_hr),
                         data<Real>(grad_b_ih),
                         data<Real>(grad_b_hh),
                         state_gradient,
                         plan.shares.threads() == 1 && plan.shares.groups(0).size() == 1};
  run<Work<Real>>(
      plan, {kernels.backward_weights_size(b), kernels.backward_scratch_size(b, plan.team), kernels.backward_zeros(b),
             [&](Work<Real>* weights, int64_t part, int64_t parts) { kernels.pack_backward(b, weights, part, parts); },
             [&](const Work<Real>* weights, const RowGroup& group, Work<Real>* scratch, Member* member) {
               return kernels.backward(b, weights, group, scratch, member);
             },
             [&](Work<Real>* const* scratch, int shares, int64_t part, int64_t parts) {
               kernels.reduce(b, scratch, shares, part, parts);
             }});
  if (!state_gradient) grad_h0 = a.empty(none);
  return {grad_input, grad_h0, grad_c0, grad_w_ih, grad_w_hh, grad_b_ih, grad_b_hh, grad_w_hr};
}

template <typename Real>
Call<Real> call(int64_t cell, const Tensor& input, const Tensor& h0, const OptionalTensor& c0, const Tensor& w_ih,
                const Tensor& w_hh, const OptionalTensor& b_ih, const OptionalTensor& b_hh, const OptionalTensor& w_hr,
                const OptionalTensor& lengths, const OptionalTensor& batch_sizes, bool batch_first, bool reverse,
                bool narrow) {
  const Kernels<Real>& kernels = kernels_of<Real>(cell, narrow);
  return {kernels,
          {cell,
           {kernels.gates, kernels.saved, kernels.has_c},
           input,
           h0,
           c0,
           w_ih,
           w_hh,
           b_ih,
           b_hh,
           w_hr,
           lengths,
           batch_sizes,
           batch_first,
           reverse}};
}

/// What run makes with the numbers of that type.
template <typename Run>
auto by_type(ScalarType type, const Run& run) {
  if (type == ScalarType::BFloat16) return run(BFloat16{});
  check_type(type);
  return type == ScalarType::Float ? run(float{}) : run(double{});
}

FourTensors layer(int64_t cell, const Tensor& input, const Tensor& h0, const OptionalTensor& c0, const Tensor& w_ih,
                  const Tensor& w_hh, const OptionalTensor& b_ih, const OptionalTensor& b_hh,
                  const OptionalTensor& w_hr, const OptionalTensor& lengths, const OptionalTensor& batch_sizes,
                  bool batch_first, bool reverse, int64_t keep, bool narrow) {
  const auto run = [&](auto real) {
    return forward(call<decltype(real)>(cell, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, batch_sizes,
                                        batch_first, reverse, narrow),
                   keep);
  };
  return by_type(input.scalar_type(), run);
}

EightTensors layer_backward(int64_t cell, const OptionalTensor& grad_output, const OptionalTensor& grad_h_n,
                            const OptionalTensor& grad_c_n, const Tensor& input, const Tensor& h0,
                            const OptionalTensor& c0, const Tensor& w_ih, const Tensor& w_hh,
                            const OptionalTensor& b_ih, const OptionalTensor& b_hh, const OptionalTensor& w_hr,
                            const Tensor& output, const Tensor& reserve, const OptionalTensor& lengths,
                            const OptionalTensor& batch_sizes, bool batch_first, bool reverse, bool input_gradient,
                            bool narrow, bool state_gradient) {
  const auto run = [&](auto real) {
    const auto a = call<decltype(real)>(cell, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, batch_sizes,
                                        batch_first, reverse, narrow);
    return backward(a, {a, output, reserve, grad_output, grad_h_n, grad_c_n}, input_gradient, state_gradient);
  };
  return by_type(input.scalar_type(), run);
}

/// Of one thread: the median over short slices, which an interruption does not move, nor a clock that is higher at
/// first.
double thread_peak(double seconds) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> rates;
  const auto start = Clock::now();
  do {
    const auto before = Clock::now();
    const double operations = static_cast<double>(target().burn(20000));
    rates.push_back(operations / std::chrono::duration<double>(Clock::now() - before).count());
  } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
  std::nth_element(rates.begin(), rates.begin() + rates.size() / 2, rates.end());
  return rates[rates.size() / 2];
}

double cpu_peak(double seconds) {
  std::vector<double> rates(torch::stable::get_num_threads());
  torch::stable::parallel_for(0, rates.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) rates[thread] = thread_peak(seconds);
  });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

std::string cpu_target() { return target().name; }
std::string cpu_targets() { return available_targets(); }
std::string cpu_target_ran() { return last_target; }

}  // namespace
}  // namespace rnnfast::cpu

STABLE_TORCH_LIBRARY_IMPL(rnnfast, CPU, m) {
  m.impl("layer", TORCH_BOX(&rnnfast::cpu::layer));
  m.impl("layer_backward", TORCH_BOX(&rnnfast::cpu::layer_backward));
}

STABLE_TORCH_LIBRARY_IMPL(rnnfast, CompositeExplicitAutograd, m) {
  m.impl("cpu_peak", TORCH_BOX(&rnnfast::cpu::cpu_peak));
  m.impl("cpu_target", TORCH_BOX(&rnnfast::cpu::cpu_target));
  m.impl("cpu_targets", TORCH_BOX(&rnnfast::cpu::cpu_targets));
  m.impl("cpu_target_ran", TORCH_BOX(&rnnfast::cpu::cpu_target_ran));
}
