#include "cpu/rows.h"

#include <algorithm>
#include <numeric>

namespace rnnfast::cpu {

RowShares::RowShares(const int64_t* lengths, int64_t T, int64_t N, int threads)
    : shares_(std::max<int64_t>(1, std::min<int64_t>(threads, N))) {
  const auto add = [&](Share& share, int64_t row) {
    share.index.push_back(row);
    share.length.push_back(lengths ? lengths[row] : T);
  };
  if (!lengths || std::all_of(lengths, lengths + N, [&](int64_t length) { return length == lengths[0]; })) {
    // Equal lengths: neighbours in memory stay with one thread.
    for (int64_t row = 0; row < N; ++row) add(shares_[row * this->threads() / N], row);
    return;
  }
  // Longest first, each to the thread that has the fewest tokens so far.
  std::vector<int64_t> order(N), tokens(shares_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  for (int64_t row : order) {
    const auto least = std::min_element(tokens.begin(), tokens.end()) - tokens.begin();
    tokens[least] += lengths[row];
    add(shares_[least], row);
  }
}

std::vector<RowGroup> RowShares::groups(int thread) const {
  const Share& share = shares_[thread];
  const int64_t rows = static_cast<int64_t>(share.index.size()), count = (rows + kGroupRows - 1) / kGroupRows;
  std::vector<RowGroup> groups;
  for (int64_t group = 0; group < count; ++group) {
    const int64_t begin = rows * group / count, end = rows * (group + 1) / count;
    groups.push_back({share.index.data() + begin, share.length.data() + begin, end - begin});
  }
  return groups;
}

}  // namespace rnnfast::cpu
