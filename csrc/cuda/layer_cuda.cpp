// The ops of one layer on an NVIDIA GPU: tensors to raw pointers, products of matrices over all time steps at once, and
// between them the sweep over time: by resident.h in one launch, else by stepwise.h, to which the products of every
// step are given here.
//
// Letters: T time steps, N batch rows, I input size, H hidden size, P width of the hidden state, G gates, S slots of
// the cell. Sums are float, or double where the input is. A matrix of all time steps has as rows the vectors of a
// sequence in the order in which they stand in memory.
//
// An LSTM's projection, h_t = W_hr m_t with m_t = o tanh(c_t), is folded into the recurrent weights: the sweep is that
// of m_t with W_hh W_hr, so that it knows of no projection, and h_t is one product after it. Only h_0 has no m_0: its
// part of the sums is added to those of each row's first step.
//
// With RNNFAST_EMULATED the same ops are for tensors on the CPU, in the namespace rnnfast_emulated, over kernels that
// an emulator runs (tests/csrc/emulator).

#define USE_CUDA  // or torch's header keeps quiet about streams
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <array>
#include <exception>
#include <utility>
#include <vector>

#include "arguments.h"
#include "cuda/resident.h"
#include "cuda/stepwise.h"
#include "cuda/sweep.h"

#define RNNFAST_INLINE inline

namespace rnnfast::cuda {
namespace {

#include "cells/cells.h"

/// What this file needs to know of a cell (csrc/cells/cells.h).
struct Cell {
  CellShape shape;
  int64_t slots;
  int64_t x_slot, h_slot;
  const int *x_order, *h_order;  // [G]
};

template <typename C>
constexpr Cell facts() {
  return {{C::gates, C::saved, C::has_c}, C::slots, C::x_slot, C::h_slot, C::x_order, C::h_order};
}

#define RNNFAST_FACTS(name, C) facts<C>(),
constexpr Cell kFacts[] = {RNNFAST_CELLS(RNNFAST_FACTS)};
#undef RNNFAST_FACTS

void check(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();  // said here, so it is not to be found by whoever asks next
  RNNFAST_CHECK(error == cudaSuccess, "CUDA error: ", cudaGetErrorString(error));
}

Type type_of(const Tensor& input) {
  switch (input.scalar_type()) {
    case ScalarType::Float:
      return Type::kFloat32;
    case ScalarType::Half:
      return Type::kFloat16;
    case ScalarType::BFloat16:
      return Type::kBFloat16;
    case ScalarType::Double:
      return Type::kFloat64;
    default:
      RNNFAST_CHECK(false, "input must be float32, float64, float16 or bfloat16, got: ", input.scalar_type());
  }
}

/// The device of a tensor made the current one while this lives, and the stream that torch uses there.
struct Device {
#ifdef RNNFAST_EMULATED
  cudaStream_t stream = nullptr;
  explicit Device(const Tensor&) {}
#else
  torch::stable::accelerator::DeviceGuard guard;
  cudaStream_t stream;

  explicit Device(const Tensor& tensor) : guard(index_of(tensor)) {
    void* current = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &current));
    stream = static_cast<cudaStream_t>(current);
  }

  static int32_t index_of(const Tensor& tensor) {
    RNNFAST_CHECK(tensor.is_cuda(), "input must be on the GPU, as other arguments are");
    return tensor.get_device_index();
  }
#endif
};

// Operators of torch. Those with `out` are what autocast leaves alone.

template <typename... Arguments>
Tensor call(const char* name, const char* overload, const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(Arguments)> stack{torch::stable::detail::from(arguments)...};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

Tensor transposed(const Tensor& matrix) { return torch::stable::transpose(matrix, 0, 1); }

/// to = a b. Sums are made in float at least; where `to` is narrow, torch's switches for reduced-precision reductions
/// let cuBLAS add up parts of them in its type.
void multiply(const Tensor& a, const Tensor& b, const Tensor& to) {
  if (a.scalar_type() == to.scalar_type())
    call("aten::mm", "out", a, b, to);
  else
    call("aten::mm", "dtype_out", a, b, to.scalar_type(), to);
}

/// The rows of a matrix that an index on its device names.
Tensor take(const Tensor& matrix, const Tensor& index) {
  return call("aten::index_select", "", matrix, int64_t(0), index);
}

Tensor plus(const Tensor& a, const Tensor& b) { return torch::stable::subtract(a, b, -1.0); }

Tensor blocks(const Tensor& matrix, int64_t dimension, int64_t first, int64_t count, int64_t H) {
  Tensor same = matrix;
  return torch::stable::narrow(same, dimension, first * H, count * H);
}

/// One call of an op: what it was given, on the device, and how its parts are made.
class Call {
 public:
  Call(const Cell& cell, Arguments arguments, bool tf32)
      : a(std::move(arguments)),
        cell(cell),
        device(a.input),
        type(type_of(a.input)),
        tf32(tf32),
        narrow(a.input.scalar_type()),
        sums(type == Type::kFloat64 ? ScalarType::Double : ScalarType::Float),
        steps(a.layout.rows) {
    const Layout& layout = a.layout;
    if (is_empty()) return;
    if (!layout.lengths.empty()) lengths = put(std::vector<int32_t>(layout.lengths.begin(), layout.lengths.end()));
    if (layout.packed()) first_row = put(layout.first_row);
  }

  const Arguments a;
  const Cell& cell;
  const Device device;
  const Type type;
  const bool tf32;
  const ScalarType narrow, sums;  // of what the caller gives and gets, and of sums
  const int64_t steps;            // of all rows together: the height of matrices over time

  /// Nothing to compute but zeros.
  bool is_empty() const { return a.layout.N == 0 || a.H == 0; }

  Tensor empty(const std::vector<int64_t>& sizes, ScalarType type) const {
    try {
      return torch::stable::new_empty(a.input, sizes, type);
    } catch (const std::exception&) {  // which torch's stable interface leaves without its type and message
      cudaStreamCaptureStatus status;
      check(cudaStreamIsCapturing(device.stream, &status));  // an error of before is no lack of memory
      RNNFAST_CHECK(false, "CUDA out of memory: no room for ", text(sizes), " numbers of ", type);
    }
  }
  Tensor empty(const std::vector<int64_t>& sizes) const { return empty(sizes, narrow); }

  /// A sequence as a matrix: a view, unless its strides forbid that.
  Tensor matrix(const Tensor& sequence, int64_t width) const {
    return torch::stable::reshape(sequence, {steps, width});
  }

  /// The input likewise, with a contiguous innermost dimension.
  Tensor input_matrix() const {
    const Tensor rows = matrix(a.input, a.I);
    return rows.stride(1) == 1 || a.I == 1 ? rows : torch::stable::contiguous(rows);
  }

  /// Where the vectors of a matrix over time stand.
  template <typename Void>
  Sequence<Void> sequence(const Tensor& matrix) const {
    const Layout& layout = a.layout;
    const int64_t stride = matrix.stride(0);
    if (layout.packed()) return {matrix.mutable_data_ptr(), 0, stride};
    if (layout.batch_first) return {matrix.mutable_data_ptr(), stride, stride * layout.T};
    return {matrix.mutable_data_ptr(), stride * layout.N, stride};
  }
  template <typename Void>
  Sequence<Void> sequence(const OptionalTensor& matrix) const {
    return matrix ? sequence<Void>(*matrix) : Sequence<Void>{};
  }

  static void* data(const OptionalTensor& tensor) { return tensor ? tensor->mutable_data_ptr() : nullptr; }

  /// What every sweep is told of the layer, `width` units wide.
  Layer layer(int64_t width, const OptionalTensor& w_hh, const OptionalTensor& h0) const {
    Layer layer{};
    layer.cell = static_cast<int>(&cell - kFacts);
    layer.type = type;
    layer.tf32 = tf32;
    layer.T = a.layout.T;
    layer.N = a.layout.N;
    layer.H = width;
    layer.reverse = a.reverse;
    layer.lengths = static_cast<const int32_t*>(data(lengths));
    layer.first_row = static_cast<const int64_t*>(data(first_row));
    layer.w_hh = data(w_hh);
    layer.h0 = data(h0);
    layer.c0 = data(a.c0);
    return layer;
  }

  /// That of the sweep: with a projection, of m_t.
  Layer layer() const { return a.w_hr ? layer(a.H, folded, std::nullopt) : layer(a.H, a.w_hh, a.h0); }

  void run(const Forward& f) const {
    if (run_resident(f)) return;
    const int64_t N = a.layout.N;
    Tensor states = empty({N, a.H}), cell_states = empty({a.c0 ? N : 0, a.H}, sums);
    const Tensor products = empty({N, a.G * a.H}, sums), weights = transposed(recurrent());
    if (f.h0)
      torch::stable::copy_(states, a.h0);
    else
      torch::stable::zero_(states);
    if (a.c0) torch::stable::copy_(cell_states, *a.c0);
    const StepForward between{states.mutable_data_ptr(), products.mutable_data_ptr(), cell_states.mutable_data_ptr()};
    const std::vector<int64_t> rows = rows_of_steps();
    for (int64_t s = 0; s < f.T; ++s) {
      const int64_t t = f.reverse ? f.T - 1 - s : s;
      multiply_rows(states, weights, products, rows[t]);
      check(step(f, between, t, a.layout.packed() ? rows[t] : N, device.stream));
    }
  }

  void run(const Backward& b) const {
    if (run_resident(b)) return;
    const int64_t N = a.layout.N;
    const Tensor dz = empty({N, a.G * a.H}), grad_h = empty({N, a.H}, sums), mixes = empty({N, a.H}, sums),
                 grad_cells = empty({a.c0 ? N : 0, a.H}, sums), weights = by_slots(recurrent(), cell.h_order);
    const StepBackward between{dz.mutable_data_ptr(), grad_h.mutable_data_ptr(), mixes.mutable_data_ptr(),
                               grad_cells.mutable_data_ptr()};
    Tensor unwritten = dz;  // a row has none before its last step, but is multiplied if a longer one stands after it
    torch::stable::zero_(unwritten);
    const std::vector<int64_t> rows = rows_of_steps();
    for (int64_t s = 0; s < b.T; ++s) {
      const int64_t t = b.reverse ? s : b.T - 1 - s;
      if (s > 0) multiply_rows(dz, weights, grad_h, rows[t]);
      check(step(b, between, t, a.layout.packed() ? rows[t] : N, device.stream));
    }
    multiply_rows(dz, weights, grad_h, N);
    check(finish(b, between, device.stream));
  }

  Tensor product(const Tensor& x, const Tensor& y, ScalarType type) const {
    const Tensor made = empty({x.size(0), y.size(1)}, type);
    multiply(x, y, made);
    return made;
  }

  /// W_hh W_hr, [G*H, H].
  void fold() { folded = product(a.w_hh, *a.w_hr, narrow); }

  /// Of each step the state before it; `first` is that before a row's first step, null: zero.
  Tensor states_before(const Tensor& states, const OptionalTensor& first) const {
    const int64_t width = states.size(1);
    const Tensor made = empty({steps, width});
    check(cuda::states_before(layer(width, std::nullopt, first), sequence<const void>(states), sequence<void>(made),
                              device.stream));
    return made;
  }

  /// A matrix over time in whose padding there are zeros instead of anything; itself if there is no padding. Every one
  /// that goes into a product has been through this or was made here: on some processors (bfloat16 with AMX) a row of
  /// NaN spoils other rows of torch's product.
  Tensor without_padding(const Tensor& matrix) const {
    if (!lengths || first_row) return matrix;
    const Tensor made = empty({steps, matrix.size(1)});
    check(cuda::without_padding(layer(matrix.size(1), std::nullopt, std::nullopt), matrix.size(1),
                                sequence<const void>(matrix), sequence<void>(made), device.stream));
    return made;
  }

  /// Where in a matrix over time each row's first step is, in the order of the sweep, or its last one: [N] int64.
  Tensor places(bool first) const {
    const Layout& layout = a.layout;
    std::vector<int64_t> found;
    for (int64_t n = 0; n < layout.N; ++n) {
      const int64_t length = layout.lengths.empty() ? layout.T : layout.lengths[n];
      const int64_t t = first == a.reverse ? length - 1 : 0;
      found.push_back(layout.packed()      ? layout.first_row[t] + n
                      : layout.batch_first ? n * layout.T + t
                                           : t * layout.N + n);
    }
    return put(found);
  }

  /// A vector or matrix whose blocks of H rows stand in the order of slots, in that of gates, as the caller wants it.
  Tensor by_gates(const Tensor& by_slots, const int* order) const {
    const Tensor made = empty(sizes_of(by_slots));
    for_runs(order, [&](int64_t slot, int64_t gate, int64_t count) {
      Tensor to = blocks(made, 0, gate, count, a.H);
      torch::stable::copy_(to, blocks(by_slots, 0, slot, count, a.H));
    });
    return made;
  }

  /// And a weight back in the order of slots.
  Tensor by_slots(const Tensor& weight, const int* order) const {
    if (is_in_order(order)) return weight;
    const Tensor made = empty(sizes_of(weight));
    for_runs(order, [&](int64_t slot, int64_t gate, int64_t count) {
      Tensor to = blocks(made, 0, slot, count, a.H);
      torch::stable::copy_(to, blocks(weight, 0, gate, count, a.H));
    });
    return made;
  }

  /// The gradient of a weight: that of the sums, dz [steps, G*H], times what the weight was multiplied by.
  Tensor weight_gradient(const Tensor& dz, const Tensor& by, const int* order) const {
    const Tensor made = product(transposed(dz), by, sums);
    return sums == narrow && is_in_order(order) ? made : by_gates(made, order);
  }

 private:
  /// Whether there is a plan that keeps the weights on the multiprocessors, and so the sweep is made.
  template <typename Pass>
  bool run_resident(const Pass& pass) const {
    constexpr int64_t alignment = 256;
    const Plan plan = resident_plan(pass);
    if (!plan.exists()) return false;
    const Tensor memory = empty({static_cast<int64_t>(resident_workspace(plan)) + alignment}, ScalarType::Byte);
    const auto begin = reinterpret_cast<uint64_t>(memory.mutable_data_ptr());
    const auto aligned = reinterpret_cast<void*>((begin + alignment - 1) / alignment * alignment);
    check(resident_sweep(pass, plan, aligned, device.stream));
    return true;
  }

  /// What the sweep multiplies its states with.
  const Tensor& recurrent() const { return folded ? *folded : a.w_hh; }

  /// Of each time step how many batch rows, from the first on, hold all that have it.
  std::vector<int64_t> rows_of_steps() const {
    const Layout& layout = a.layout;
    std::vector<int64_t> rows(layout.T, layout.lengths.empty() ? layout.N : 0);
    for (int64_t n = 0; n < static_cast<int64_t>(layout.lengths.size()); ++n) rows[layout.lengths[n] - 1] = n + 1;
    for (int64_t t = layout.T - 2; t >= 0; --t) rows[t] = rows[t] > rows[t + 1] ? rows[t] : rows[t + 1];
    return rows;
  }

  /// to = x y, in the first rows of x and of `to`.
  static void multiply_rows(const Tensor& x, const Tensor& y, const Tensor& to, int64_t rows) {
    if (rows == x.size(0)) return multiply(x, y, to);
    Tensor all = x, made = to;
    if (rows > 0) multiply(torch::stable::narrow(all, 0, 0, rows), y, torch::stable::narrow(made, 0, 0, rows));
  }

  /// each(slot, gate, count) for every run of slots whose gates follow one another, too.
  template <typename Each>
  void for_runs(const int* order, const Each& each) const {
    for (int64_t slot = 0, count; slot < a.G; slot += count) {
      for (count = 1; slot + count < a.G && order[slot + count] == order[slot] + count;) ++count;
      each(slot, order[slot], count);
    }
  }

  bool is_in_order(const int* order) const {
    bool found = false;
    for_runs(order, [&](int64_t, int64_t, int64_t count) { found = count == a.G; });
    return found;
  }

  template <typename Number>
  Tensor put(const std::vector<Number>& numbers) const {
    const int64_t count = static_cast<int64_t>(numbers.size());
    const Tensor made = empty({count}, sizeof(Number) == sizeof(int64_t) ? ScalarType::Long : ScalarType::Int);
    check(cuda::put(numbers.data(), static_cast<Number*>(made.mutable_data_ptr()), count, device.stream));
    return made;
  }

  OptionalTensor lengths, first_row, folded;
};

FourTensors forward(Call& call, int64_t keep) {
  const Arguments& a = call.a;
  const Kept kept(a, keep);
  const Tensor output = call.empty(a.layout.sizes(a.P));
  Tensor h_n = call.empty({a.layout.N, a.P});
  Tensor c_n = call.empty(a.c0 ? std::vector<int64_t>{a.layout.N, a.H} : std::vector<int64_t>{0});
  const Tensor reserve = call.empty(kept.sizes);
  if (call.is_empty()) {
    for (Tensor each : {output, h_n, c_n}) torch::stable::zero_(each);
    return {output, h_n, c_n, reserve};
  }
  if (a.w_hr) call.fold();

  Forward f{};
  static_cast<Layer&>(f) = call.layer();
  const Tensor input = call.without_padding(call.input_matrix()), hidden = call.matrix(output, a.P);
  OptionalTensor m;
  const Tensor projected = call.product(input, transposed(a.w_ih), call.sums);
  f.projected = call.sequence<const void>(projected);
  if (a.w_hr) {
    const Tensor first = call.places(true), from_h0 = call.product(a.h0, transposed(a.w_hh), call.sums);
    cuda::call("aten::index_copy_", "", projected, int64_t(0), first, plus(take(projected, first), from_h0));
    m = call.empty({call.steps, a.H});
  }
  const Tensor m_n = a.w_hr ? call.empty({a.layout.N, a.H}) : h_n;
  f.b_ih = Call::data(a.b_ih);
  f.b_hh = Call::data(a.b_hh);
  f.output = call.sequence<void>(m ? *m : hidden);
  f.h_n = m_n.mutable_data_ptr();
  f.c_n = a.c0 ? c_n.mutable_data_ptr() : nullptr;
  if (kept.all) f.reserve = call.sequence<void>(call.matrix(reserve, a.cell.saved * a.H));
  if (kept.cells) f.cells = call.sequence<void>(call.matrix(reserve, a.H));
  call.run(f);
  if (a.w_hr) {
    multiply(*m, transposed(*a.w_hr), hidden);
    h_n = take(hidden, call.places(false));
  }
  return {output, h_n, c_n, reserve};
}

/// What the forward pass would have kept, made again from the states that it put out.
Tensor made_again(const Call& call, const Tensor& input, const Tensor& before, const OptionalTensor& cells) {
  const Arguments& a = call.a;
  const Tensor projected = call.product(input, transposed(a.w_ih), call.sums),
               hidden = call.product(before, transposed(a.w_hh), call.sums),
               reserve = call.empty({call.steps, a.cell.saved * a.H});
  Forward f{};
  static_cast<Layer&>(f) = call.layer();
  f.b_ih = Call::data(a.b_ih);
  f.b_hh = Call::data(a.b_hh);
  check(remake(f, call.steps, projected.mutable_data_ptr(), hidden.mutable_data_ptr(), Call::data(cells),
               a.w_hr ? nullptr : before.mutable_data_ptr(), reserve.mutable_data_ptr(), call.device.stream));
  return reserve;
}

/// The gradients of a layer where there is nothing to compute: zeros.
EightTensors zero_gradients(const Call& call, const Tensor& grad_input) {
  const Arguments& a = call.a;
  const std::vector<int64_t> none{0}, c_sizes{a.layout.N, a.H};
  std::array<Tensor, 8> zeros{grad_input,
                              call.empty({a.layout.N, a.P}),
                              call.empty(a.c0 ? c_sizes : none),
                              call.empty({a.G * a.H, a.I}),
                              call.empty({a.G * a.H, a.P}),
                              call.empty({a.G * a.H}),
                              call.empty({a.G * a.H}),
                              call.empty(a.w_hr ? sizes_of(*a.w_hr) : none)};
  for (Tensor& each : zeros) torch::stable::zero_(each);
  return std::tuple_cat(zeros);
}

/// What the backward pass reads of the forward one, as matrices over time.
struct Known {
  Tensor input, hidden, before;  // before: of each step h_(t-1)
  OptionalTensor reserve;
  OptionalTensor m;            // of a projection
  OptionalTensor grad_output;  // none where it is zero
  OptionalTensor grad_h_n;     // likewise
};

Known known(const Call& call, const Given& given) {
  const Arguments& a = call.a;
  const Tensor hidden = call.matrix(given.output, a.P);
  Known k{
      call.without_padding(call.input_matrix()), hidden, call.states_before(hidden, a.h0), {}, {}, {}, given.grad_h_n};
  if (given.reserve)
    k.reserve = call.matrix(*given.reserve, a.cell.saved * a.H);
  else if (a.cell.saved)
    k.reserve = made_again(call, k.input, k.before, given.cells);
  if (given.grad_output) {
    k.grad_output = call.matrix(*given.grad_output, a.P);
    if (a.w_hr) k.grad_output = call.without_padding(*k.grad_output);  // else no product reads it
  }
  if (a.w_hr) {
    k.m = call.empty({call.steps, a.H});
    check(outputs(call.layer(), call.sequence<const void>(*k.reserve), call.sequence<void>(*k.m), call.device.stream));
  }
  return k;
}

/// The sweep from the last step to the first: returns the gradients of the sums, dz [steps, S*H], and writes those of
/// the states before the first step, `grad_c0` where there is one.
Tensor swept(const Call& call, const Known& k, const OptionalTensor& grad_c_n, const Tensor& grad_m0,
             const Tensor& grad_c0) {
  const Arguments& a = call.a;
  const Tensor dz = call.empty({call.steps, call.cell.slots * a.H});
  OptionalTensor grad_m = k.grad_output, grad_m_n = k.grad_h_n;
  if (a.w_hr && k.grad_output) grad_m = call.product(*k.grad_output, *a.w_hr, call.narrow);
  if (a.w_hr && k.grad_h_n) grad_m_n = call.product(*k.grad_h_n, *a.w_hr, call.narrow);
  Backward b{};
  static_cast<Layer&>(b) = call.layer();
  b.output = call.sequence<const void>(k.m ? *k.m : k.hidden);
  b.reserve = call.sequence<const void>(k.reserve);
  b.grad_output = call.sequence<const void>(grad_m);
  b.grad_h_n = Call::data(grad_m_n);
  b.grad_c_n = Call::data(grad_c_n);
  b.dz = call.sequence<void>(dz);
  b.grad_h0 = grad_m0.mutable_data_ptr();
  b.grad_c0 = a.c0 ? grad_c0.mutable_data_ptr() : nullptr;
  call.run(b);
  return dz;
}

/// The gradient of a projection's W_hr, which is in every h_t = W_hr m_t, whether it goes on into the next step, into
/// the output or into h_n.
Tensor projection_gradient(const Call& call, const Known& k, const Tensor& dz_h) {
  const Arguments& a = call.a;
  const Tensor m_before = call.states_before(*k.m, std::nullopt);
  Tensor w_hh = call.empty(sizes_of(a.w_hh), call.sums);
  torch::stable::copy_(w_hh, call.by_slots(a.w_hh, call.cell.h_order));
  Tensor total = call.product(transposed(w_hh), call.product(transposed(dz_h), m_before, call.sums), call.sums);
  if (k.grad_output) total = plus(total, call.product(transposed(*k.grad_output), *k.m, call.sums));
  if (k.grad_h_n) total = plus(total, call.product(transposed(*k.grad_h_n), take(*k.m, call.places(false)), call.sums));
  Tensor made = call.empty(sizes_of(*a.w_hr));
  torch::stable::copy_(made, total);
  return made;
}

EightTensors backward(Call& call, const Given& given, bool input_gradient) {
  const Arguments& a = call.a;
  const Cell& cell = call.cell;
  const std::vector<int64_t> none{0}, c_sizes{a.layout.N, a.H};
  const Tensor grad_input = call.empty(input_gradient ? a.layout.sizes(a.I) : none);
  if (call.is_empty()) return zero_gradients(call, grad_input);
  if (a.w_hr) call.fold();

  // 1. the gradients of the sums, and of the states before the first step
  const Known k = known(call, given);
  const Tensor grad_h0 = call.empty({a.layout.N, a.P}), grad_c0 = call.empty(a.c0 ? c_sizes : none),
               grad_m0 = a.w_hr ? call.empty(c_sizes) : grad_h0;
  const Tensor dz = swept(call, k, given.grad_c_n, grad_m0, grad_c0);

  // 2. those of the weights, of the biases and of the input
  const Tensor dz_x = blocks(dz, 1, cell.x_slot, a.G, a.H), dz_h = blocks(dz, 1, cell.h_slot, a.G, a.H);
  const Tensor grad_w_ih = call.weight_gradient(dz_x, k.input, cell.x_order),
               grad_w_hh = call.weight_gradient(dz_h, k.before, cell.h_order);
  Tensor bias = call.empty({cell.slots * a.H});
  const std::vector<int64_t> over_time{0};
  torch::stable::sum_out(bias, dz, over_time);
  const Tensor grad_b_ih = call.by_gates(blocks(bias, 0, cell.x_slot, a.G, a.H), cell.x_order),
               grad_b_hh = call.by_gates(blocks(bias, 0, cell.h_slot, a.G, a.H), cell.h_order);
  if (input_gradient) multiply(dz_x, call.by_slots(a.w_ih, cell.x_order), call.matrix(grad_input, a.I));

  // 3. those of a projection, and of its h_0, which went into the first steps by itself
  if (a.w_hr) multiply(take(dz_h, call.places(true)), call.by_slots(a.w_hh, cell.h_order), grad_h0);
  const Tensor grad_w_hr = a.w_hr ? projection_gradient(call, k, dz_h) : call.empty(none);
  return {grad_input, grad_h0, grad_c0, grad_w_ih, grad_w_hh, grad_b_ih, grad_b_hh, grad_w_hr};
}

const Cell& cell_of(int64_t number) {
  check_cell(number);
  return kFacts[number];
}

FourTensors layer(int64_t number, const Tensor& input, const Tensor& h0, const OptionalTensor& c0, const Tensor& w_ih,
                  const Tensor& w_hh, const OptionalTensor& b_ih, const OptionalTensor& b_hh,
                  const OptionalTensor& w_hr, const OptionalTensor& lengths, const OptionalTensor& batch_sizes,
                  bool batch_first, bool reverse, int64_t keep, bool tf32) {
  const Cell& cell = cell_of(number);
  Call call(
      cell,
      {number, cell.shape, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, batch_sizes, batch_first, reverse},
      tf32);
  return forward(call, keep);
}

EightTensors layer_backward(int64_t number, const OptionalTensor& grad_output, const OptionalTensor& grad_h_n,
                            const OptionalTensor& grad_c_n, const Tensor& input, const Tensor& h0,
                            const OptionalTensor& c0, const Tensor& w_ih, const Tensor& w_hh,
                            const OptionalTensor& b_ih, const OptionalTensor& b_hh, const OptionalTensor& w_hr,
                            const Tensor& output, const Tensor& reserve, const OptionalTensor& lengths,
                            const OptionalTensor& batch_sizes, bool batch_first, bool reverse, bool input_gradient,
                            bool tf32, bool /*state_gradient*/) {
  const Cell& cell = cell_of(number);
  Call call(
      cell,
      {number, cell.shape, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, lengths, batch_sizes, batch_first, reverse},
      tf32);
  return backward(call, {call.a, output, reserve, grad_output, grad_h_n, grad_c_n}, input_gradient);
}

}  // namespace
}  // namespace rnnfast::cuda

#ifdef RNNFAST_EMULATED
STABLE_TORCH_LIBRARY_IMPL(rnnfast_emulated, CPU, m) {
#else
STABLE_TORCH_LIBRARY_IMPL(rnnfast, CUDA, m) {
#endif
  m.impl("layer", TORCH_BOX(&rnnfast::cuda::layer));
  m.impl("layer_backward", TORCH_BOX(&rnnfast::cuda::layer_backward));
}
