// Which thread sweeps which batch rows.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/layer.h"

namespace rnnfast::cpu {

class RowShares {
 public:
  RowShares() = default;
  /// lengths: [N], or null if every row has T time steps. Shares differ in tokens, not in rows, as little as whole rows
  /// allow, and follow from the arguments alone.
  RowShares(const int64_t* lengths, int64_t T, int64_t N, int threads);

  int threads() const { return static_cast<int>(shares_.size()); }
  /// The groups of rows of one thread, each at most kGroupRows.
  std::vector<RowGroup> groups(int thread) const;

 private:
  struct Share {
    std::vector<int64_t> index, length;
  };
  std::vector<Share> shares_;
};

}  // namespace rnnfast::cpu
