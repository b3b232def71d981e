#include "cpu/team.h"

#include <thread>

namespace rnnfast::cpu {

void Member::wait_for(int64_t done) const {
  for (int spins = 0; team_.done.load(std::memory_order_acquire) < done; ++spins) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spins > 1000) std::this_thread::yield();  // there may be more threads than cores
  }
}

}  // namespace rnnfast::cpu
