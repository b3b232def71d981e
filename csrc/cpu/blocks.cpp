#include "cpu/blocks.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace rnnfast::cpu {
namespace {

constexpr size_t kPage = 2 << 20;          // a large one
constexpr size_t kKept = size_t(1) << 30;  // bytes at most that wait to be used again

/// Stands in the 64 bytes before a block.
struct alignas(64) Header {
  size_t bytes;  // of the whole
};

/// Blocks that nobody uses, the oldest first. Never destroyed: tensors may outlive every static object.
struct Waiting {
  std::mutex mutex;
  std::vector<Header*> blocks;
  size_t bytes = 0;

  Waiting() { blocks.reserve(64); }  // and no more of them, so that giving one back never allocates

  Header* remove(size_t index) {
    Header* block = blocks[index];
    blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(index));
    bytes -= block->bytes;
    return block;
  }
};

Waiting& waiting() {
  static auto* const all = new Waiting;
  return *all;
}

/// Tells the system that the pages of a block, but for the first one, may go.
void offer([[maybe_unused]] Header* block) {
#if defined(__linux__) && defined(MADV_FREE)
  madvise(reinterpret_cast<char*>(block) + kPage, block->bytes - kPage, MADV_FREE);
#endif
}

}  // namespace

void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / kPage * kPage;
  // A system without large pages refuses, and nothing is lost.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

void* take_block(size_t bytes) {
  const size_t whole = (sizeof(Header) + bytes + kPage - 1) / kPage * kPage;
  Waiting& all = waiting();
  {
    const std::lock_guard lock(all.mutex);
    size_t best = all.blocks.size();  // the smallest that is large enough; of like ones the last, which the caches know
    for (size_t i = 0; i < all.blocks.size(); ++i) {
      const size_t size = all.blocks[i]->bytes;
      if (size >= whole && size <= whole + whole / 8 && (best == all.blocks.size() || size <= all.blocks[best]->bytes))
        best = i;
    }
    if (best < all.blocks.size()) return all.remove(best) + 1;
  }
  auto* block = static_cast<Header*>(std::aligned_alloc(kPage, whole));
  if (!block) throw std::bad_alloc();
  prefer_huge_pages(block, whole);
  block->bytes = whole;
  return block + 1;
}

void give_block(void* data) noexcept {
  Header* block = static_cast<Header*>(data) - 1;
  Waiting& all = waiting();
  const std::lock_guard lock(all.mutex);
  while (!all.blocks.empty() && all.bytes + block->bytes > kKept) std::free(all.remove(0));
  if (block->bytes > kKept || all.blocks.size() == all.blocks.capacity()) return std::free(block);
  offer(block);
  all.blocks.push_back(block);
  all.bytes += block->bytes;
}

}  // namespace rnnfast::cpu
