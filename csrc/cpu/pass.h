// A pass over the rows of a batch on torch's threads: who does what, and in which memory.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#include "cpu/blocks.h"
#include "cpu/rows.h"
#include "cpu/team.h"

namespace rnnfast::cpu {

/// Work below this many floating-point operations is not worth waking a second thread for.
constexpr double kThreadGrain = 1e6;

/// As many of torch's threads as so many floating-point operations are worth.
inline int threads_for(double operations) {
  return static_cast<int>(std::min<double>(torch::stable::get_num_threads(), operations / kThreadGrain + 1));
}

/// The name of the target that ran last on this thread, from inside its own code.
inline thread_local const char* last_target = "";

/// Who does what: threads that sweep batch rows of their own, or a team that shares every time step of all rows.
struct Plan {
  bool team;
  int members;       // of the team, or 1
  RowShares shares;  // with a team, of one thread
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

inline thread_local Workspace::Memory Workspace::memory_;
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

}  // namespace rnnfast::cpu
