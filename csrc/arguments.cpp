#include "arguments.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <sstream>

namespace rnnfast {
namespace {

std::string name_of(const torch::stable::Device& device) {
  if (device.is_cpu()) return "cpu";
  if (device.is_cuda()) return "cuda:" + std::to_string(device.index());
  return "another device";
}

}  // namespace

std::string text(Sizes sizes) {
  std::ostringstream out;
  out << "(";
  for (size_t i = 0; i < sizes.size(); ++i) out << (i ? ", " : "") << sizes[i];
  out << ")";
  return out.str();
}

std::vector<int64_t> sizes_of(const Tensor& tensor) {
  return std::vector<int64_t>(tensor.sizes().begin(), tensor.sizes().end());
}

void check_cell(int64_t cell) {
  RNNFAST_CHECK(cell >= 0 && cell < static_cast<int64_t>(std::size(kCells)),
                "cell must be the number of a cell, got: ", cell);
}

Tensor without_gaps(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

Tensor expect(const char* name, const Tensor& tensor, Sizes sizes, const Tensor& like, const char* like_name) {
  RNNFAST_CHECK(std::ranges::equal(tensor.sizes(), sizes), name, " must have the shape ", text(sizes),
                ", got: ", text(sizes_of(tensor)));
  RNNFAST_CHECK(tensor.device() == like.device(), name, " must be on ", name_of(like.device()), " as ", like_name,
                " is, got: ", name_of(tensor.device()));
  RNNFAST_CHECK(tensor.scalar_type() == like.scalar_type(), name, " must have the dtype of ", like_name, ", ",
                like.scalar_type(), ", got: ", tensor.scalar_type());
  return without_gaps(tensor);
}

std::vector<int64_t> integers(const char* name, const Tensor& tensor) {
  RNNFAST_CHECK(tensor.dim() == 1 && tensor.is_cpu() && tensor.scalar_type() == ScalarType::Long, name,
                " must be a one-dimensional int64 tensor on the CPU, got: ", tensor.dim(), " dimensions of ",
                tensor.scalar_type());
  const Tensor numbers = without_gaps(tensor);
  const auto* data = numbers.const_data_ptr<int64_t>();
  return std::vector<int64_t>(data, data + numbers.numel());
}

Layout::Layout(const Tensor& input, const OptionalTensor& given_lengths, const OptionalTensor& batch_sizes,
               bool batch_first)
    : batch_first(batch_first) {
  RNNFAST_CHECK(!given_lengths || !batch_sizes, "lengths and batch_sizes exclude each other");
  const int64_t rank = batch_sizes ? 2 : 3;
  RNNFAST_CHECK(input.dim() == rank, "input must have ", rank, " dimensions, got: ", input.dim());
  if (batch_sizes) {
    const std::vector<int64_t> sizes = integers("batch_sizes", *batch_sizes);
    T = static_cast<int64_t>(sizes.size());
    RNNFAST_CHECK(T > 0, "batch_sizes must not be empty");
    N = sizes[0];
    rows = input.size(0);
    RNNFAST_CHECK(N <= rows, "batch_sizes must add up to the rows of input (", rows, "), got: ", text(sizes));
    lengths.assign(N > 0 ? N : 0, 0);
    int64_t sum = 0;
    for (int64_t t = 0; t < T; ++t) {
      RNNFAST_CHECK(sizes[t] >= 1 && sizes[t] <= (t ? sizes[t - 1] : N),
                    "batch_sizes must be at least 1 and never rise, got: ", text(sizes));
      first_row.push_back(sum);
      sum += sizes[t];
      for (int64_t n = 0; n < sizes[t]; ++n) ++lengths[n];
    }
    RNNFAST_CHECK(sum == rows, "batch_sizes must add up to the rows of input (", rows, "), got: ", sum);
    tokens = sum;
    return;
  }
  T = input.size(batch_first ? 1 : 0);
  N = input.size(batch_first ? 0 : 1);
  rows = T * N;
  tokens = rows;
  RNNFAST_CHECK(T > 0, "input must have at least one time step, got: 0");
  if (!given_lengths) return;
  lengths = integers("lengths", *given_lengths);
  RNNFAST_CHECK(static_cast<int64_t>(lengths.size()) == N, "lengths must have one entry for each of the ", N,
                " batch rows, got: ", lengths.size());
  tokens = 0;
  for (int64_t length : lengths) {
    RNNFAST_CHECK(length >= 1 && length <= T, "lengths must be between 1 and the number of time steps (", T,
                  "), got: ", length);
    tokens += length;
  }
}

std::vector<int64_t> Layout::sizes(int64_t width) const {
  if (packed()) return {rows, width};
  return batch_first ? std::vector<int64_t>{N, T, width} : std::vector<int64_t>{T, N, width};
}

Arguments::Arguments(int64_t number, CellShape cell, const Tensor& input, const Tensor& h0_, const OptionalTensor& c0_,
                     const Tensor& w_ih_, const Tensor& w_hh_, const OptionalTensor& b_ih_, const OptionalTensor& b_hh_,
                     const OptionalTensor& w_hr_, const OptionalTensor& lengths, const OptionalTensor& batch_sizes,
                     bool batch_first, bool reverse)
    : cell(cell), layout(input, lengths, batch_sizes, batch_first), input(input), G(cell.gates), reverse(reverse) {
  I = input.size(input.dim() - 1);
  RNNFAST_CHECK(w_hh_.dim() == 2, "w_hh must have 2 dimensions, got: ", w_hh_.dim());
  RNNFAST_CHECK(w_hh_.size(0) % G == 0, "w_hh must have ", G, " rows for each hidden unit of a ", kCells[number],
                ", got: ", w_hh_.size(0));
  H = w_hh_.size(0) / G;
  P = w_hr_ ? w_hh_.size(1) : H;
  h0 = expect("h0", h0_, {layout.N, P}, input);
  w_ih = expect("w_ih", w_ih_, {G * H, I}, input);
  w_hh = expect("w_hh", w_hh_, {G * H, P}, input);
  RNNFAST_CHECK(c0_.has_value() == cell.has_c, "c0 must ", cell.has_c ? "be" : "not be", " given for the cell ",
                kCells[number]);
  RNNFAST_CHECK(!w_hr_ || cell.has_c, "w_hr must not be given for the cell ", kCells[number]);
  RNNFAST_CHECK(b_ih_.has_value() == b_hh_.has_value(), "b_ih and b_hh must be given together");
  if (c0_) c0 = expect("c0", *c0_, {layout.N, H}, input);
  if (w_hr_) w_hr = expect("w_hr", *w_hr_, {P, H}, input);
  if (b_ih_) {
    b_ih = expect("b_ih", *b_ih_, {G * H}, input);
    b_hh = expect("b_hh", *b_hh_, {G * H}, input);
  }
}

Kept::Kept(const Arguments& a, int64_t keep) {
  RNNFAST_CHECK(keep >= kKeepNothing && keep <= kAllIfNeeded, "keep must be between 0 and 4, got: ", keep);
  all = keep == kKeepAll && a.cell.saved > 0;
  cells = keep == kKeepCells && a.cell.has_c;
  sizes = all || cells ? a.layout.sizes((all ? a.cell.saved : 1) * a.H) : std::vector<int64_t>{0};
}

Given::Given(const Arguments& a, const Tensor& output_, const Tensor& reserve_, const OptionalTensor& grad_output_,
             const OptionalTensor& grad_h_n_, const OptionalTensor& grad_c_n_)
    : output(expect("output", output_, a.layout.sizes(a.P), a.input)) {
  const std::vector<int64_t> all = a.layout.sizes(a.cell.saved * a.H);
  if (a.cell.saved && sizes_of(reserve_) == all)
    reserve = expect("reserve", reserve_, all, a.input);
  else if (a.cell.has_c)
    cells = expect("reserve", reserve_, a.layout.sizes(a.H), a.input);
  else
    expect("reserve", reserve_, {0}, a.input);
  if (grad_output_) grad_output = expect("grad_output", *grad_output_, a.layout.sizes(a.P), a.input);
  if (grad_h_n_) grad_h_n = expect("grad_h_n", *grad_h_n_, {a.layout.N, a.P}, a.input);
  if (grad_c_n_ && a.cell.has_c) grad_c_n = expect("grad_c_n", *grad_c_n_, {a.layout.N, a.H}, a.input);
}

}  // namespace rnnfast
