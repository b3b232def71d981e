// Large blocks of memory that are used again.
//
// What a training step keeps for its backward pass goes back to the system a moment later, and the next step gets fresh
// pages, which the system has to clear: for an LSTM that alone took a tenth of the step. So blocks stay for the next
// one. The system may take their pages whenever it needs them.
#pragma once

#include <cstddef>

namespace rnnfast::cpu {

/// At a multiple of 64 bytes. Throws std::bad_alloc.
void* take_block(size_t bytes);

/// Gives back what take_block returned, from any thread.
void give_block(void* block) noexcept;

}  // namespace rnnfast::cpu
