// Large blocks of memory that are used again.
//
// The results of one call go back to the system a moment later, and the next call gets fresh pages, which the system
// has to clear: a tenth of an LSTM's training step, and a third of a forward pass where there are no large pages left.
// So blocks wait for the next call, up to a limit. The system may take their pages meanwhile, whenever it needs them.
#pragma once

#include <cstddef>

namespace rnnfast::cpu {

/// At a multiple of 64 bytes. Throws std::bad_alloc.
void* take_block(size_t bytes);

/// Gives back what take_block returned, from any thread.
void give_block(void* block) noexcept;

}  // namespace rnnfast::cpu
