// The arguments of the ops of one layer, whatever computes them: checks whose errors name argument, rule and value, and
// where the vectors of a sequence stand. A backend makes raw pointers of what it gets here.
//
// Letters: T time steps, N batch rows, I input size, H hidden size, P width of the hidden state, G gates of the cell.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "check.h"

namespace rnnfast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using FourTensors = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using EightTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

/// The cells by the numbers that the ops take, in the order of CELLS in rnnfast/nn/ops.py.
inline constexpr const char* kCells[] = {"rnn_tanh", "rnn_relu", "gru", "lstm"};

/// What the forward pass keeps for the backward pass, beside the output: all that it needs, or the cell states alone,
/// from which it makes the rest again. The last two are for graphs, which must not settle it: autograd makes them one
/// of those if there will be a backward pass (rnnfast/nn/ops.py), and no kernel sees them but where there will be none.
inline constexpr int64_t kKeepNothing = 0, kKeepCells = 1, kKeepAll = 2, kCellsIfNeeded = 3, kAllIfNeeded = 4;

/// Sizes of a tensor, written where they are needed or held by somebody else.
struct Sizes : std::span<const int64_t> {
  using std::span<const int64_t>::span;
  Sizes(std::initializer_list<int64_t> sizes) : span(sizes.begin(), sizes.size()) {}
  Sizes(const std::vector<int64_t>& sizes) : span(sizes) {}
};

std::string text(Sizes sizes);
std::vector<int64_t> sizes_of(const Tensor& tensor);

/// Refuses what is not the number of a cell.
void check_cell(int64_t cell);

/// The tensor itself or, if it is not contiguous, a copy. Torch's own would look its operator up by name for either.
Tensor without_gaps(const Tensor& tensor);

/// The tensor with a contiguous memory layout, after a check of its shape, and of its device and type, which are those
/// of the argument `like`.
Tensor expect(const char* name, const Tensor& tensor, Sizes sizes, const Tensor& like, const char* like_name = "input");

/// The numbers of a one-dimensional int64 tensor.
std::vector<int64_t> integers(const char* name, const Tensor& tensor);

/// Where the vectors of a sequence stand: (T, N, width), (N, T, width) or, packed, (rows, width).
struct Layout {
  int64_t T, N, rows;
  bool batch_first;
  std::vector<int64_t> lengths;    // [N], or empty if every row has T steps
  std::vector<int64_t> first_row;  // packed: [T]; else empty
  int64_t tokens = 0;              // time steps of all rows

  Layout(const Tensor& input, const OptionalTensor& given_lengths, const OptionalTensor& batch_sizes, bool batch_first);

  bool packed() const { return !first_row.empty(); }
  const int64_t* length_data() const { return lengths.empty() ? nullptr : lengths.data(); }
  std::vector<int64_t> sizes(int64_t width) const;
};

/// What the checks need to know of a cell (csrc/cells/cells.h).
struct CellShape {
  int64_t gates;  // G
  int64_t saved;  // numbers of a hidden unit in the reserve
  bool has_c;     // whether there is a cell state
};

/// The tensors of a layer, checked; all but the input are contiguous. They live as long as the pointers into them.
struct Arguments {
  CellShape cell;
  Layout layout;
  Tensor input, h0, w_ih, w_hh;
  OptionalTensor c0, b_ih, b_hh, w_hr;
  int64_t G, I, H, P;
  bool reverse;

  Arguments(int64_t number, CellShape cell, const Tensor& input, const Tensor& h0, const OptionalTensor& c0,
            const Tensor& w_ih, const Tensor& w_hh, const OptionalTensor& b_ih, const OptionalTensor& b_hh,
            const OptionalTensor& w_hr, const OptionalTensor& lengths, const OptionalTensor& batch_sizes,
            bool batch_first, bool reverse);
};

/// What the forward pass has to keep.
struct Kept {
  bool all, cells;             // neither: nothing
  std::vector<int64_t> sizes;  // of the reserve

  Kept(const Arguments& a, int64_t keep);
};

/// What else the backward pass is given, checked and contiguous. What is in the reserve says what was kept.
struct Given {
  Tensor output;
  OptionalTensor reserve;  // none where the backward pass makes it again, or where the cell saves nothing
  OptionalTensor cells;    // none unless the cell states are all that was kept
  OptionalTensor grad_output, grad_h_n, grad_c_n;  // none where they are zero

  Given(const Arguments& a, const Tensor& output, const Tensor& reserve, const OptionalTensor& grad_output,
        const OptionalTensor& grad_h_n, const OptionalTensor& grad_c_n);
};

}  // namespace rnnfast
