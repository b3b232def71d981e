// The op from token ids to pooled hidden states: tensors to raw pointers, work to threads. The arithmetic is in
// pooled.inl.
//
// Letters: N batch rows, T tokens of the longest row that fits, V words, H hidden size, G gates of the cell.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

#include "cpu/pass.h"
#include "cpu/targets.h"
#include "cpu/tensors.h"

namespace rnnfast::cpu {
namespace {

/// The first of the row's ids that is not a word, or -1.
template <typename Id>
int64_t find_wrong(const Id* ids, int64_t length, int64_t V) {
  Id lowest = 0, highest = 0;
  for (int64_t t = 0; t < length; ++t) {
    lowest = std::min(lowest, ids[t]);
    highest = std::max(highest, ids[t]);
  }
  if (lowest >= 0 && highest < V) return -1;
  return std::find_if(ids, ids + length, [V](Id id) { return id < 0 || id >= V; }) - ids;
}

/// Of each word the last text that held it, by number. It stays with the thread, so that a text costs only its own
/// words.
struct Stamps {
  std::vector<uint32_t> of_word;
  uint32_t text = 0;

  /// Begins with the next text.
  void next(int64_t V) {
    if (static_cast<int64_t>(of_word.size()) < V) of_word.resize(V);
    if (++text == 0) {  // after 2^32 texts
      std::fill(of_word.begin(), of_word.end(), 0);
      text = 1;
    }
  }
};

thread_local Stamps thread_stamps;

/// The sum of the weights of a text's words, in the order of the text, over the square root of their number; if
/// `distinct`, of those that were not there before.
template <typename Id, typename Real>
Real sum_words(const Id* ids, int64_t length, const Real* weights, int64_t V, bool distinct) {
  thread_stamps.next(V);
  // Copies, which spare a look at the thread's own memory for each word.
  uint32_t* const stamps = thread_stamps.of_word.data();
  const uint32_t text = thread_stamps.text;
  double sum = 0;
  int64_t count = 0;
  for (int64_t t = 0; t < length; ++t) {
    const bool counts = !distinct || stamps[ids[t]] != text;
    sum += counts ? weights[ids[t]] : Real(0);  // no branch, which would be foretold wrongly
    count += counts;
    stamps[ids[t]] = text;
  }
  return static_cast<Real>(sum / std::sqrt(static_cast<double>(count)));
}

/// Store: the numbers of the table; what comes of them is in the precision of their sums.
template <typename Store>
FourTensors pooled(int64_t cell, const Tensor& ids_, const Tensor& lengths_, const Tensor& table_, const Tensor& w_hh_,
                   const OptionalTensor& b_hh_, const OptionalTensor& word_weights_, bool distinct, bool padding_before,
                   bool reverse, bool with_mean, bool with_max, bool with_last) {
  typedef Work<Store> Real;
  const Kernels<Store>& kernels = kernels_of<Store>(cell);
  RNNFAST_CHECK(ids_.dim() == 2, "ids must have 2 dimensions, got: ", ids_.dim());
  const bool wide = ids_.scalar_type() == ScalarType::Long;
  RNNFAST_CHECK(wide || ids_.scalar_type() == ScalarType::Int, "ids must be int32 or int64, got: ", ids_.scalar_type());
  const int64_t N = ids_.size(0), T = ids_.size(1), G = kernels.gates;
  const Tensor ids = torch::stable::contiguous(ids_);
  const std::vector<int64_t> lengths = integers("lengths", lengths_);
  RNNFAST_CHECK(static_cast<int64_t>(lengths.size()) == N, "lengths must have one entry for each of the ", N,
                " rows of ids, got: ", lengths.size());
  for (int64_t length : lengths)
    RNNFAST_CHECK(length >= 1 && length <= T, "lengths must be between 1 and the columns of ids (", T,
                  "), got: ", length);
  RNNFAST_CHECK(w_hh_.dim() == 2, "w_hh must have 2 dimensions, got: ", w_hh_.dim());
  const int64_t H = w_hh_.size(1);
  const Tensor w_hh = expect("w_hh", w_hh_, {G * H, H}, table_, "table");
  OptionalTensor b_hh;
  if (b_hh_) b_hh = expect("b_hh", *b_hh_, {G * H}, table_, "table");
  RNNFAST_CHECK(table_.dim() == 2, "table must have 2 dimensions, got: ", table_.dim());
  RNNFAST_CHECK(table_.size(1) == G * H, "table must have as many columns as w_hh has rows (", G * H,
                "), got: ", table_.size(1));
  const int64_t V = table_.size(0);
  const Tensor table = table_.stride(1) == 1 ? table_ : torch::stable::contiguous(table_);

  const ScalarType type = sizeof(Real) == sizeof(float) ? ScalarType::Float : ScalarType::Double;
  const auto empty = [&](int64_t width) { return torch::stable::new_empty(table, {N, width}, type); };
  const Tensor mean = empty(with_mean ? H : 0), max = empty(with_max ? H : 0), last = empty(with_last ? H : 0);
  OptionalTensor word_weights;
  if (word_weights_) word_weights = expect("word_weights", *word_weights_, {V}, mean, "the results");
  const Tensor word_sums = torch::stable::new_empty(table, {word_weights ? N : 0}, type);
  Pooled<Store> f{};
  f.T = T;
  f.N = N;
  f.H = f.P = H;
  f.reverse = reverse;
  f.w_hh = data<Store>(w_hh);
  f.b_hh = data<Store>(b_hh);
  f.ids = wide ? nullptr : ids.const_data_ptr<int32_t>();
  f.wide_ids = wide ? ids.const_data_ptr<int64_t>() : nullptr;
  f.padding_before = padding_before;
  f.table = data<Store>(table);
  f.table_stride = table.stride(0);
  f.mean = with_mean ? data<Real>(mean) : nullptr;
  f.max = with_max ? data<Real>(max) : nullptr;
  f.last = with_last ? data<Real>(last) : nullptr;

  // While the weights are packed each id is looked at, ahead of the sweep, which asks no more, and the words' own
  // weights are added up.
  const Real* const weights_of_words = data<Real>(word_weights);
  Real* const sums = data<Real>(word_sums);
  std::atomic<int64_t> wrong{N * T};  // the first place of an id that is not a word
  const auto read = [&](const auto* ids, int64_t n) {
    const int64_t first = n * T + (padding_before ? T - lengths[n] : 0);
    const int64_t found = find_wrong(ids + first, lengths[n], V);
    if (found < 0) {
      if (weights_of_words) sums[n] = sum_words(ids + first, lengths[n], weights_of_words, V, distinct);
      return;
    }
    for (int64_t least = wrong; first + found < least && !wrong.compare_exchange_weak(least, first + found);) continue;
  };
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t(0));
  const int threads = threads_for(2.0 * tokens * G * H * H);
  run<Real>({false, 1, RowShares(lengths.data(), T, N, threads)},
            {kernels.pooled_weights_size(f), kernels.pooled_scratch_size(f), 0,
             [&](Real* weights, int64_t part, int64_t parts) {
               kernels.pack_pooled(f, weights, part, parts);
               for (int64_t n = N * part / parts; n < N * (part + 1) / parts; ++n)
                 wide ? read(f.wide_ids, n) : read(f.ids, n);
             },
             [&](const Real* weights, const RowGroup& group, Real* scratch, Member*) {
               return wrong < N * T ? "" : kernels.pooled(f, weights, group, scratch);
             }});
  RNNFAST_CHECK(wrong == N * T, "ids must be between 0 and ", V - 1,
                ", the last row of table, got: ", wide ? f.wide_ids[wrong] : f.ids[wrong]);
  return {mean, max, last, word_sums};
}

FourTensors pooled_of_type(int64_t cell, const Tensor& ids, const Tensor& lengths, const Tensor& table,
                           const Tensor& w_hh, const OptionalTensor& b_hh, const OptionalTensor& word_weights,
                           bool distinct, bool padding_before, bool reverse, bool with_mean, bool with_max,
                           bool with_last) {
  const ScalarType type = table.scalar_type();
  if (type != ScalarType::BFloat16) check_type(type);
  const auto& run = type == ScalarType::BFloat16 ? pooled<BFloat16>
                    : type == ScalarType::Float  ? pooled<float>
                                                 : pooled<double>;
  return run(cell, ids, lengths, table, w_hh, b_hh, word_weights, distinct, padding_before, reverse, with_mean,
             with_max, with_last);
}

}  // namespace
}  // namespace rnnfast::cpu

STABLE_TORCH_LIBRARY_IMPL(rnnfast, CPU, m) { m.impl("pooled", TORCH_BOX(&rnnfast::cpu::pooled_of_type)); }
