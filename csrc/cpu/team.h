// Threads that share every time step of a few batch rows, where there are fewer rows than threads.
//
// The work of a phase (a time step, say) is cut into items that may run at the same time; a phase begins when the one
// before it is done. Whoever is free takes the next item, so nobody waits for a thread that has not started: the sweep
// ends even if torch runs all its threads one after another. What an item computes does not depend on who runs it.
#pragma once

#include <atomic>
#include <cstdint>

namespace rnnfast::cpu {

struct Team {
  // Apart by two cache lines, which are fetched in pairs.
  alignas(128) std::atomic<int64_t> taken{0};
  alignas(128) std::atomic<int64_t> done{0};
};

/// One thread's place in the team. Every member goes through the same phases.
class Member {
 public:
  explicit Member(Team& team) : team_(team) {}

  /// Runs those of the phase's items run(0) ... run(items - 1) that no other member takes, once the phase before it is
  /// done. An item is taken only then: whoever waits may lose its core without holding up the others.
  template <typename Run>
  void share(int64_t items, const Run& run) {
    const int64_t end = first_ + items;
    wait_for(first_);
    for (int64_t item = team_.taken.load(std::memory_order_relaxed); item < end;) {
      if (!team_.taken.compare_exchange_weak(item, item + 1, std::memory_order_relaxed)) continue;
      run(item - first_);
      team_.done.fetch_add(1, std::memory_order_release);
      item = team_.taken.load(std::memory_order_relaxed);
    }
    first_ = end;
  }

 private:
  /// Returns when so many items of the team are done.
  void wait_for(int64_t done) const;

  Team& team_;
  int64_t first_ = 0;  // number of the phase's first item
};

}  // namespace rnnfast::cpu
