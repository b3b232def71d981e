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
#include <tuple>
#include <vector>

#include "cpu/blocks.h"
#include "cpu/pass.h"
#include "cpu/targets.h"
#include "cpu/tensors.h"

namespace rnnfast::cpu {
namespace {

/// Numbers from which a result goes into a block that was used before.
constexpr int64_t kLargeBlock = 1 << 19;

/// Operations and hidden units of a time step, for each member of a team, below which meeting costs more than it saves.
constexpr double kStepGrain = 5e4;
constexpr int64_t kLeastUnits = 64;

/// Where the vectors of a sequence stand: (T, N, width), (N, T, width) or, packed, (rows, width).
struct Layout {
  int64_t T, N, rows;
  bool batch_first;
  std::vector<int64_t> lengths;    // [N], or empty if every row has T steps
  std::vector<int64_t> first_row;  // packed: [T]; else empty
  int64_t tokens = 0;              // time steps of all rows

  bool packed() const { return !first_row.empty(); }
  const int64_t* length_data() const { return lengths.empty() ? nullptr : lengths.data(); }

  std::vector<int64_t> sizes(int64_t width) const {
    if (packed()) return {rows, width};
    return batch_first ? std::vector<int64_t>{N, T, width} : std::vector<int64_t>{T, N, width};
  }

  Layout(const Tensor& input, const OptionalTensor& given_lengths, const OptionalTensor& batch_sizes, bool batch_first)
      : batch_first(batch_first) {
    STD_TORCH_CHECK(!given_lengths || !batch_sizes, "rnnfast: lengths and batch_sizes exclude each other");
    const int64_t rank = batch_sizes ? 2 : 3;
    STD_TORCH_CHECK(input.dim() == rank, "rnnfast: input must have ", rank, " dimensions, got: ", input.dim());
    if (batch_sizes) {
      const std::vector<int64_t> sizes = integers("batch_sizes", *batch_sizes);
      T = static_cast<int64_t>(sizes.size());
      STD_TORCH_CHECK(T > 0, "rnnfast: batch_sizes must not be empty");
      N = sizes[0];
      rows = input.size(0);
      STD_TORCH_CHECK(N <= rows, "rnnfast: batch_sizes must add up to the rows of input (", rows,
                      "), got: ", text(sizes));
      lengths.assign(N > 0 ? N : 0, 0);
      int64_t sum = 0;
      for (int64_t t = 0; t < T; ++t) {
        STD_TORCH_CHECK(sizes[t] >= 1 && sizes[t] <= (t ? sizes[t - 1] : N),
                        "rnnfast: batch_sizes must be at least 1 and never rise, got: ", text(sizes));
        first_row.push_back(sum);
        sum += sizes[t];
        for (int64_t n = 0; n < sizes[t]; ++n) ++lengths[n];
      }
      STD_TORCH_CHECK(sum == rows, "rnnfast: batch_sizes must add up to the rows of input (", rows, "), got: ", sum);
      tokens = sum;
      return;
    }
    T = input.size(batch_first ? 1 : 0);
    N = input.size(batch_first ? 0 : 1);
    rows = T * N;
    tokens = rows;
    STD_TORCH_CHECK(T > 0, "rnnfast: input must have at least one time step, got: 0");
    if (!given_lengths) return;
    lengths = integers("lengths", *given_lengths);
    STD_TORCH_CHECK(static_cast<int64_t>(lengths.size()) == N, "rnnfast: lengths must have one entry for each of the ",
                    N, " batch rows, got: ", lengths.size());
    tokens = 0;
    for (int64_t length : lengths) {
      STD_TORCH_CHECK(length >= 1 && length <= T, "rnnfast: lengths must be between 1 and the number of time steps (",
                      T, "), got: ", length);
      tokens += length;
    }
  }

  template <typename Real>
  Sequence<Real> sequence(const Tensor& tensor) const {
    auto* data = static_cast<Real*>(tensor.mutable_data_ptr());
    if (packed()) return {data, 0, tensor.stride(0), first_row.data()};
    return {data, tensor.stride(batch_first ? 1 : 0), tensor.stride(batch_first ? 0 : 1), nullptr};
  }
};

/// Threads that sweep batch rows of their own, or, where there are fewer rows than threads, a team that shares the
/// hidden units of every time step. elements: of all matrices of the layer; H: hidden units.
Plan plan_for(const Layout& layout, int64_t elements, int64_t H) {
  const double operations = 2.0 * elements * layout.tokens;
  const double shared = std::min<double>({static_cast<double>(torch::stable::get_num_threads()),
                                          operations / layout.T / kStepGrain, static_cast<double>(H) / kLeastUnits});
  const int members = std::max(1, static_cast<int>(shared));
  const bool team = layout.N > 0 && members > layout.N && layout.N <= kGroupRows;
  return {team, team ? members : 1,
          RowShares(layout.length_data(), layout.T, layout.N, team ? 1 : threads_for(operations))};
}

/// The input with a contiguous innermost dimension; the outer strides are free.
Tensor input_rows(const Tensor& input) {
  const int64_t last = input.dim() - 1;
  return input.stride(last) == 1 || input.size(last) == 1 ? input : torch::stable::contiguous(input);
}

/// The tensors of a layer, checked and contiguous; they live as long as the pointers into them.
template <typename Real>
struct Arguments {
  const Kernels<Real>& kernels;
  Layout layout;
  Tensor input, h0, w_ih, w_hh;
  OptionalTensor c0, b_ih, b_hh, w_hr;
  int64_t G, I, H, P;
  bool reverse;

  Arguments(int64_t cell, const Tensor& input_, const Tensor& h0_, const OptionalTensor& c0_, const Tensor& w_ih_,
            const Tensor& w_hh_, const OptionalTensor& b_ih_, const OptionalTensor& b_hh_, const OptionalTensor& w_hr_,
            const OptionalTensor& lengths, const OptionalTensor& batch_sizes, bool batch_first, bool reverse)
      : kernels(kernels_of<Real>(cell)),
        layout(input_, lengths, batch_sizes, batch_first),
        input(input_rows(input_)),
        G(kernels.gates),
        reverse(reverse) {
    const ScalarType type = input.scalar_type();
    I = input.size(input.dim() - 1);
    STD_TORCH_CHECK(w_hh_.dim() == 2, "rnnfast: w_hh must have 2 dimensions, got: ", w_hh_.dim());
    STD_TORCH_CHECK(w_hh_.size(0) % G == 0, "rnnfast: w_hh must have ", G, " rows for each hidden unit of a ",
                    kCells[cell], ", got: ", w_hh_.size(0));
    H = w_hh_.size(0) / G;
    P = w_hr_ ? w_hh_.size(1) : H;
    h0 = expect("h0", h0_, {layout.N, P}, type);
    w_ih = expect("w_ih", w_ih_, {G * H, I}, type);
    w_hh = expect("w_hh", w_hh_, {G * H, P}, type);
    STD_TORCH_CHECK(c0_.has_value() == kernels.has_c, "rnnfast: c0 must ", kernels.has_c ? "be" : "not be",
                    " given for the cell ", kCells[cell]);
    STD_TORCH_CHECK(!w_hr_ || kernels.has_c, "rnnfast: w_hr must not be given for the cell ", kCells[cell]);
    STD_TORCH_CHECK(b_ih_.has_value() == b_hh_.has_value(), "rnnfast: b_ih and b_hh must be given together");
    if (c0_) c0 = expect("c0", *c0_, {layout.N, H}, type);
    if (w_hr_) w_hr = expect("w_hr", *w_hr_, {P, H}, type);
    if (b_ih_) {
      b_ih = expect("b_ih", *b_ih_, {G * H}, type);
      b_hh = expect("b_hh", *b_hh_, {G * H}, type);
    }
  }

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
            layout.sequence<const Real>(input),
            data<Real>(h0),
            data<Real>(c0)};
  }

  Plan plan() const { return plan_for(layout, G * H * (I + P), H); }

  Tensor empty(const std::vector<int64_t>& sizes) const {
    const int64_t numbers = std::accumulate(sizes.begin(), sizes.end(), int64_t(1), std::multiplies<>());
    if (numbers < kLargeBlock) return torch::stable::new_empty(input, sizes);
    std::vector<int64_t> strides(sizes.size(), 1);
    for (size_t i = sizes.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * sizes[i];
    return torch::stable::from_blob(take_block(numbers * sizeof(Real)), sizes, strides, input.device(),
                                    input.scalar_type(), give_block);
  }
};

/// What the forward pass keeps for the backward pass, beside the output: all that it needs, or the cell states alone,
/// from which it makes the rest again.
constexpr int64_t kKeepNothing = 0, kKeepCells = 1, kKeepAll = 2;

using FourTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using EightTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename Real>
FourTensors forward(const Arguments<Real>& a, int64_t keep) {
  const Kernels<Real>& kernels = a.kernels;
  const Layout& layout = a.layout;
  STD_TORCH_CHECK(keep >= kKeepNothing && keep <= kKeepAll, "rnnfast: keep must be 0, 1 or 2, got: ", keep);
  const bool all = keep == kKeepAll && kernels.saved > 0, cells = keep == kKeepCells && kernels.has_c;
  Tensor output = a.empty(layout.sizes(a.P));
  Tensor h_n = a.empty({layout.N, a.P});
  Tensor c_n = a.empty(kernels.has_c ? std::vector<int64_t>{layout.N, a.H} : std::vector<int64_t>{0});
  Tensor reserve = a.empty(all || cells ? layout.sizes((all ? kernels.saved : 1) * a.H) : std::vector<int64_t>{0});
  const Forward<Real> f{a.layer(),
                        layout.sequence<Real>(output),
                        data<Real>(h_n),
                        data<Real>(c_n),
                        all ? layout.sequence<Real>(reserve) : Sequence<Real>{},
                        cells ? layout.sequence<Real>(reserve) : Sequence<Real>{}};
  run<Real>(a.plan(),
            {kernels.forward_weights_size(f), kernels.forward_scratch_size(f), 0,
             [&](Real* weights, int64_t part, int64_t parts) { kernels.pack_forward(f, weights, part, parts); },
             [&](const Real* weights, const RowGroup& group, Real* scratch, Member* member) {
               return kernels.forward(f, weights, group, scratch, member);
             }});
  return {output, h_n, c_n, reserve};
}

template <typename Real>
EightTensors backward(const Arguments<Real>& a, const Tensor& output_, const Tensor& reserve_,
                      const OptionalTensor& grad_output_, const OptionalTensor& grad_h_n_,
                      const OptionalTensor& grad_c_n_, bool input_gradient) {
  const Kernels<Real>& kernels = a.kernels;
  const Layout& layout = a.layout;
  const ScalarType type = a.input.scalar_type();
  const Tensor output = expect("output", output_, layout.sizes(a.P), type);
  OptionalTensor reserve, cells, grad_output, grad_h_n, grad_c_n;
  // What is in the reserve says what was kept.
  const std::vector<int64_t> all = layout.sizes(kernels.saved * a.H);
  if (kernels.saved && sizes_of(reserve_) == all)
    reserve = expect("reserve", reserve_, all, type);
  else if (kernels.has_c)
    cells = expect("reserve", reserve_, layout.sizes(a.H), type);
  else
    expect("reserve", reserve_, {0}, type);
  if (grad_output_) grad_output = expect("grad_output", *grad_output_, layout.sizes(a.P), type);
  if (grad_h_n_) grad_h_n = expect("grad_h_n", *grad_h_n_, {layout.N, a.P}, type);
  if (grad_c_n_ && kernels.has_c) grad_c_n = expect("grad_c_n", *grad_c_n_, {layout.N, a.H}, type);

  const std::vector<int64_t> none{0};
  Tensor grad_input = a.empty(input_gradient ? layout.sizes(a.I) : none);
  Tensor grad_h0 = a.empty({layout.N, a.P});
  Tensor grad_c0 = a.empty(kernels.has_c ? std::vector<int64_t>{layout.N, a.H} : none);
  Tensor grad_w_ih = a.empty({a.G * a.H, a.I}), grad_w_hh = a.empty({a.G * a.H, a.P});
  Tensor grad_w_hr = a.empty(a.w_hr ? std::vector<int64_t>{a.P, a.H} : none);
  Tensor grad_b_ih = a.empty({a.G * a.H}), grad_b_hh = a.empty({a.G * a.H});
  const auto rows = [&](const OptionalTensor& tensor) {
    return tensor ? layout.sequence<const Real>(*tensor) : Sequence<const Real>{};
  };
  const Backward<Real> b{a.layer(),
                         layout.sequence<const Real>(output),
                         rows(reserve),
                         rows(cells),
                         rows(grad_output),
                         data<Real>(grad_h_n),
                         data<Real>(grad_c_n),
                         input_gradient ? layout.sequence<Real>(grad_input) : Sequence<Real>{},
                         data<Real>(grad_h0),
                         data<Real>(grad_c0),
                         data<Real>(grad_w_ih),
                         data<Real>(grad_w_hh),
                         data<Real>(grad_w_hr),
                         data<Real>(grad_b_ih),
                         data<Real>(grad_b_hh)};
  const Plan plan = a.plan();
  run<Real>(plan,
            {kernels.backward_weights_size(b), kernels.backward_scratch_size(b, plan.team), kernels.backward_zeros(b),
             [&](Real* weights, int64_t part, int64_t parts) { kernels.pack_backward(b, weights, part, parts); },
             [&](const Real* weights, const RowGroup& group, Real* scratch, Member* member) {
               return kernels.backward(b, weights, group, scratch, member);
             },
             [&](Real* const* scratch, int shares, int64_t part, int64_t parts) {
               kernels.reduce(b, scratch, shares, part, parts);
             }});
  return {grad_input, grad_h0, grad_c0, grad_w_ih, grad_w_hh, grad_b_ih, grad_b_hh, grad_w_hr};
}

FourTensors layer(int64_t cell, const Tensor& input, const Tensor& h0, const OptionalTensor& c0, const Tensor& w_ih,
                  const Tensor& w_hh, const OptionalTensor& b_ih, const OptionalTensor& b_hh,
                  const OptionalTensor& w_hr, const OptionalTensor& lengths, const OptionalTensor& batch_sizes,
                  bool batch_first, bool reverse, int64_t keep) {
  const auto run = [&](auto real) {
    return forward<decltype(real)>(
        {cell, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, batch_sizes, batch_first, reverse}, keep);
  };
  check_type(input.scalar_type());
  return input.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
}

EightTensors layer_backward(int64_t cell, const OptionalTensor& grad_output, const OptionalTensor& grad_h_n,
                            const OptionalTensor& grad_c_n, const Tensor& input, const Tensor& h0,
                            const OptionalTensor& c0, const Tensor& w_ih, const Tensor& w_hh,
                            const OptionalTensor& b_ih, const OptionalTensor& b_hh, const OptionalTensor& w_hr,
                            const Tensor& output, const Tensor& reserve, const OptionalTensor& lengths,
                            const OptionalTensor& batch_sizes, bool batch_first, bool reverse, bool input_gradient) {
  const auto run = [&](auto real) {
    return backward<decltype(real)>(
        {cell, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, batch_sizes, batch_first, reverse}, output,
        reserve, grad_output, grad_h_n, grad_c_n, input_gradient);
  };
  check_type(input.scalar_type());
  return input.scalar_type() == ScalarType::Float ? run(float{}) : run(double{});
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
