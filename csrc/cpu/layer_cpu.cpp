// The CPU side of the ops: tensors to raw pointers, work to threads. The arithmetic is in forward.inl and backward.inl.
//
// Letters: T time steps, N batch rows, I input size, H hidden size, G gates of the cell.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/blocks.h"
#include "cpu/rows.h"
#include "cpu/targets.h"

namespace rnnfast::cpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

/// The cells by the numbers that the ops take, in the order of CELLS in rnnfast/ops.py.
constexpr const char* kCells[] = {"rnn_tanh", "rnn_relu", "gru", "lstm"};

/// Work below this many floating-point operations is not worth waking a second thread for.
constexpr double kThreadGrain = 1e6;

/// Numbers from which a result goes into a block that was used before.
constexpr int64_t kLargeBlock = 1 << 19;

/// Operations and hidden units of a time step, for each member of a team, below which meeting costs more than it saves.
constexpr double kStepGrain = 5e4;
constexpr int64_t kLeastUnits = 64;

/// The name of the target that ran last on this thread, from inside its own code.
thread_local const char* last_target = "";

std::string text(const std::vector<int64_t>& sizes) {
  std::ostringstream out;
  out << "(";
  for (size_t i = 0; i < sizes.size(); ++i) out << (i ? ", " : "") << sizes[i];
  out << ")";
  return out.str();
}

std::vector<int64_t> sizes_of(const Tensor& tensor) {
  return std::vector<int64_t>(tensor.sizes().begin(), tensor.sizes().end());
}

/// The tensor with a contiguous memory layout, after a check of its shape and type.
Tensor expect(const char* name, const Tensor& tensor, const std::vector<int64_t>& sizes, ScalarType type) {
  STD_TORCH_CHECK(sizes_of(tensor) == sizes, "rnnfast: ", name, " must have the shape ", text(sizes),
                  ", got: ", text(sizes_of(tensor)));
  STD_TORCH_CHECK(tensor.is_cpu(), "rnnfast: ", name, " must be on the CPU, as input is");
  STD_TORCH_CHECK(tensor.scalar_type() == type, "rnnfast: ", name, " must have the dtype of input, ", type,
                  ", got: ", tensor.scalar_type());
  return torch::stable::contiguous(tensor);
}

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

 private:
  static std::vector<int64_t> integers(const char* name, const Tensor& tensor) {
    STD_TORCH_CHECK(tensor.dim() == 1 && tensor.is_cpu() && tensor.scalar_type() == ScalarType::Long, "rnnfast: ", name,
                    " must be a one-dimensional int64 tensor on the CPU, got: ", tensor.dim(), " dimensions of ",
                    tensor.scalar_type());
    const Tensor contiguous = torch::stable::contiguous(tensor);
    const auto* data = contiguous.const_data_ptr<int64_t>();
    return std::vector<int64_t>(data, data + contiguous.numel());
  }
};

/// Memory for the packed weights and the scratch of one call, cut off piece by piece at multiples of 64 bytes. It stays
/// with the calling thread for the next call: fresh pages cost time, and aligned blocks that come and go between a
/// program's tensors leave holes that glibc before 2.38 cannot fill again.
class Workspace {
 public:
  explicit Workspace(size_t bytes) {
    if (bytes > memory_.size) {
      memory_.data.reset();
      memory_.size = 0;
      memory_.data.reset(static_cast<char*>(std::aligned_alloc(64, rounded(bytes))));
      if (!memory_.data) throw std::bad_alloc();
      prefer_huge_pages(memory_.data.get(), rounded(bytes));
      memory_.size = rounded(bytes);
    }
  }

  template <typename Real>
  Real* take(int64_t count) {
    Real* taken = reinterpret_cast<Real*>(memory_.data.get() + used_);
    used_ += bytes<Real>(count);
    return taken;
  }

  template <typename Real>
  static size_t bytes(int64_t count) {
    return rounded(static_cast<size_t>(count) * sizeof(Real));
  }

 private:
  struct Free {
    void operator()(char* data) const { std::free(data); }
  };
  struct Memory {
    std::unique_ptr<char, Free> data;
    size_t size = 0;
  };

  static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

  static thread_local Memory memory_;
  size_t used_ = 0;
};

thread_local Workspace::Memory Workspace::memory_;

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

/// Who does what: threads that sweep batch rows of their own, or, where there are fewer rows than threads, a team that
/// shares the hidden units of every time step.
struct Plan {
  bool team;
  int members;       // of the team, or 1
  RowShares shares;  // with a team, of one thread

  /// elements: of all matrices of the layer; H: hidden units.
  Plan(const Layout& layout, int64_t elements, int64_t H) {
    const int threads = static_cast<int>(torch::stable::get_num_threads());
    const double operations = 2.0 * elements * layout.tokens;
    const double whole = std::min<double>(threads, operations / kThreadGrain + 1);
    const double shared = std::min<double>(
        {static_cast<double>(threads), operations / layout.T / kStepGrain, static_cast<double>(H) / kLeastUnits});
    members = std::max(1, static_cast<int>(shared));
    team = layout.N > 0 && members > layout.N && layout.N <= kGroupRows;
    if (!team) members = 1;
    shares = RowShares(layout.length_data(), layout.T, layout.N, team ? 1 : static_cast<int>(whole));
  }
};

/// The input with a contiguous innermost dimension; the outer strides are free.
Tensor input_rows(const Tensor& input) {
  const int64_t last = input.dim() - 1;
  return input.stride(last) == 1 || input.size(last) == 1 ? input : torch::stable::contiguous(input);
}

template <typename Real>
Real* data(const Tensor& tensor) {
  return static_cast<Real*>(tensor.mutable_data_ptr());
}

template <typename Real>
Real* data(const OptionalTensor& tensor) {
  return tensor ? data<Real>(*tensor) : nullptr;
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

  Plan plan() const { return Plan(layout, G * H * (I + P), H); }

  Tensor empty(const std::vector<int64_t>& sizes) const {
    const int64_t numbers = std::accumulate(sizes.begin(), sizes.end(), int64_t(1), std::multiplies<>());
    if (numbers < kLargeBlock) return torch::stable::new_empty(input, sizes);
    std::vector<int64_t> strides(sizes.size(), 1);
    for (size_t i = sizes.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * sizes[i];
    return torch::stable::from_blob(take_block(numbers * sizeof(Real)), sizes, strides, input.device(),
                                    input.scalar_type(), give_block);
  }
};

/// What a pass is made of, one phase after the other: every part of the packing, every share of the rows (a team shares
/// one), and every part of what is left to do when all rows are done.
template <typename Real>
struct Pass {
  int64_t weights_size, scratch_size;
  int64_t zeros;  // numbers at the head of every share's scratch that are zero before its first group
  std::function<void(Real* weights, int64_t part, int64_t parts)> pack;
  std::function<const char*(const Real* weights, const RowGroup&, Real* scratch, Member*)> sweep;
  std::function<void(Real* const* scratch, int shares, int64_t part, int64_t parts)> finish = {};
};

/// Runs a pass on torch's threads, in one parallel region. Whoever is free takes the next item of a phase, so nobody
/// waits for a thread that has not started.
template <typename Real>
void run(const Plan& plan, const Pass<Real>& pass) {
  const int shares = plan.shares.threads(), threads = plan.team ? plan.members : shares;
  const int64_t parts = threads == 1 ? 1 : 4 * threads;
  const size_t each = Workspace::bytes<Real>(pass.scratch_size);
  Workspace workspace(Workspace::bytes<Real>(pass.weights_size) + each * shares);
  Real* weights = workspace.take<Real>(pass.weights_size);
  std::vector<Real*> scratch;
  for (int share = 0; share < shares; ++share) scratch.push_back(workspace.take<Real>(pass.scratch_size));
  const char* ran = last_target;
  Team team;
  torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      Member member(team);
      member.share(parts, [&](int64_t part) { pass.pack(weights, part, parts); });
      const auto clear = [&](int64_t share) { std::memset(scratch[share], 0, pass.zeros * sizeof(Real)); };
      if (plan.team) {
        member.share(1, clear);
        const char* name = pass.sweep(weights, plan.shares.groups(0).at(0), scratch[0], &member);
        if (thread == 0) ran = name;
      } else {
        member.share(shares, [&](int64_t share) {
          clear(share);
          for (const RowGroup& group : plan.shares.groups(static_cast<int>(share))) {
            const char* name = pass.sweep(weights, group, scratch[share], nullptr);
            if (share == 0) ran = name;
          }
        });
      }
      if (pass.finish) member.share(parts, [&](int64_t part) { pass.finish(scratch.data(), shares, part, parts); });
    }
  });
  last_target = ran;
}

void check_type(ScalarType type) {
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double,
                  "rnnfast: the CPU computes in float32 or float64; convert input and weights to one of them");
}

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
