// Large blocks of memory that are used again.
//
// The results of one call go back to the system a moment later, and the next call gets fresh pages, which the system
// has to clear: a tenth of an LSTM's training step, and a third of a forward pass where there are no large pages left.
// So blocks wait for the next call, up to a limit. The system may take their pages meanwhile, whenever it needs them.
#pragma once

#include <cstddef>

namespace rnnfast::cpu {

/// Asks for large pages where memory has room for one, as torch does with THP_MEM_ALLOC_ENABLE=1: the system clears
/// fresh memory page by page as it is written, and by small pages that alone can take a tenth of a forward pass.
void prefer_huge_pages(void* data, size_t bytes);

/// At a multiple of 64 bytes. Throws std::bad_alloc.
void* take_block(size_t bytes);

/// Gives back what take_block returned, from any thread.
void give_block(void* block) noexcept;

}  // namespace rnnfast::cpu
