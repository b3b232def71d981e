#include "emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <unordered_map>

namespace emulator {

Device device;
uint64_t seed = 0;

void fail(const char* what) {
  std::fprintf(stderr, "emulated GPU: %s\n", what);
  std::abort();
}

/// Of a known number of threads; may be waited for later than it is arrived at.
struct Barrier {
  int expected, arrived = 0;
  uint64_t phase = 0;

  void arrive() {
    if (++arrived < expected) return;
    arrived = 0;
    ++phase;
    wake(this);
  }
  void wait(uint64_t passed) const {
    while (phase == passed) sleep(this);
  }
};

struct Warp {
  Barrier barrier;
  // Two of them, since a lane may be one exchange ahead of another that still reads.
  char given[2][kWarp][kLaneBytes];
};

struct Block {
  static constexpr size_t kMargin = 256;
  static constexpr unsigned char kUnwritten = 0xff;  // bytes that are NaN in every type

  Block(size_t shared_bytes, int threads)
      : bytes(shared_bytes), memory(shared_bytes + 2 * kMargin, kUnwritten), barrier{threads} {
    for (int first = 0; first < threads; first += kWarp)
      warps.push_back(std::make_unique<Warp>(Warp{{threads - first < kWarp ? threads - first : kWarp}, {}}));
  }
  char* shared() {
    const auto start = reinterpret_cast<uintptr_t>(memory.data());
    return reinterpret_cast<char*>((start + kMargin / 2) / 128 * 128 + 128);
  }
  void check_margins() {
    const auto* begin = reinterpret_cast<unsigned char*>(shared());
    for (const unsigned char* at = memory.data(); at < memory.data() + memory.size(); ++at)
      if ((at < begin || at >= begin + bytes) && *at != kUnwritten) fail("a write outside of shared memory");
  }

  size_t bytes;
  std::vector<unsigned char> memory;
  Barrier barrier;
  std::vector<std::unique_ptr<Warp>> warps;
};

namespace {

constexpr size_t kStackBytes = 64 << 10;

struct Fiber {
  Self self;
  uint64_t exchanges = 0, block_barriers = 0, cluster_barriers = 0;
  bool in_cluster_barrier = false;
  bool started = false;
  ucontext_t start;
  jmp_buf at;
};

/// The blocks that are there together, and their threads.
struct Team {
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<std::unique_ptr<Barrier>> clusters;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> ready;
  std::unordered_map<const void*, std::vector<Fiber*>> asleep;
  const std::function<void()>* body;
  jmp_buf scheduler;
  int left;
};

thread_local Team* team;
thread_local Fiber* current;
thread_local std::vector<std::unique_ptr<char[]>> stacks;

[[gnu::noinline]] void leave() {
  if (_setjmp(current->at) == 0) _longjmp(team->scheduler, 1);
}

void live() {
  (*team->body)();
  --team->left;
  _longjmp(team->scheduler, 1);
}

[[gnu::noinline]] void resume(Fiber* fiber) {
  current = fiber;
  if (_setjmp(team->scheduler)) return;
  if (fiber->started) _longjmp(fiber->at, 1);
  fiber->started = true;
  setcontext(&fiber->start);
}

[[gnu::noinline]] void prepare(Fiber* fiber, char* stack) {
  getcontext(&fiber->start);
  fiber->start.uc_stack.ss_sp = stack;
  fiber->start.uc_stack.ss_size = kStackBytes;
  makecontext(&fiber->start, live, 0);
}

unsigned volume(const Index& index) { return index.x * index.y * index.z; }

Index place(unsigned number, const Index& size) {
  return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}

void run_team(const Launch& launch, unsigned first, unsigned count, std::mt19937_64& random,
              const std::function<void()>& body) {
  const unsigned threads = volume(launch.block), cluster = volume(launch.cluster);
  Team here;
  team = &here;
  here.body = &body;
  for (unsigned b = 0; b < count; ++b) {
    here.blocks.push_back(std::make_unique<Block>(launch.shared_bytes, threads));
    if (b % cluster == 0) here.clusters.push_back(std::make_unique<Barrier>(Barrier{int(cluster * threads)}));
    for (unsigned thread = 0; thread < threads; ++thread) {
      auto fiber = std::make_unique<Fiber>();
      Block* block = here.blocks[b].get();
      fiber->self = {place(thread, launch.block),
                     place(first + b, launch.grid),
                     launch.block,
                     launch.grid,
                     int(thread % kWarp),
                     int(b % cluster),
                     int(cluster),
                     block->warps[thread / kWarp].get(),
                     block};
      if (stacks.size() <= here.fibers.size()) stacks.emplace_back(new char[kStackBytes]);
      prepare(fiber.get(), stacks[here.fibers.size()].get());
      here.ready.push_back(fiber.get());
      here.fibers.push_back(std::move(fiber));
    }
  }
  here.left = int(here.fibers.size());
  while (!here.ready.empty()) {
    std::swap(here.ready[random() % here.ready.size()], here.ready.back());
    Fiber* fiber = here.ready.back();
    here.ready.pop_back();
    resume(fiber);
  }
  if (here.left) fail("threads wait for what never comes");
  for (const auto& block : here.blocks) block->check_margins();
  team = nullptr;
}

unsigned block_number(const Fiber& fiber) {
  const Index &block = fiber.self.block, &grid = fiber.self.grid_size;
  return block.x + grid.x * (block.y + grid.y * block.z);
}

/// The blocks of the team begin with this one.
unsigned first_block() { return block_number(*team->fibers.front()); }

}  // namespace

void run(const Launch& launch, const std::function<void()>& body) {
  const unsigned blocks = volume(launch.grid), cluster = volume(launch.cluster);
  if (!blocks || !volume(launch.block) || volume(launch.block) > 1024) fail("a launch of impossible size");
  if (launch.shared_bytes > size_t(device.shared_bytes)) fail("more shared memory than a block may have");
  if (launch.grid.x % launch.cluster.x || cluster > unsigned(device.largest_cluster) ||
      launch.cluster.y * launch.cluster.z != 1)
    fail("clusters that the device cannot hold");
  if (cluster > 1 && device.capability < 90) fail("clusters on a device without them");
  if (launch.cooperative && blocks > unsigned(device.multiprocessors))
    fail("more blocks together than the device holds");
  std::mt19937_64 random(seed);
  const unsigned together = launch.cooperative ? blocks : cluster;
  for (unsigned first = 0; first < blocks; first += together) run_team(launch, first, together, random, body);
}

const Self& self() { return current->self; }

char* shared_memory() { return current->self.in->shared(); }

char* shared_memory(int rank) {
  if (rank < 0 || rank >= current->self.cluster_size) fail("shared memory of a block outside of the cluster");
  const unsigned own = block_number(*current) - first_block();
  return team->blocks[own - current->self.cluster_rank + rank]->shared();
}

void wait_for_block() {
  Barrier& barrier = current->self.in->barrier;
  const uint64_t passed = current->block_barriers++;
  barrier.arrive();
  barrier.wait(passed);
}

namespace {
Barrier& cluster_barrier() {
  return *team->clusters[(block_number(*current) - first_block()) / current->self.cluster_size];
}
}  // namespace

void arrive_at_cluster() {
  if (current->in_cluster_barrier) fail("a thread arrives twice at a cluster's barrier");
  current->in_cluster_barrier = true;
  cluster_barrier().arrive();
}

void wait_for_cluster() {
  if (!current->in_cluster_barrier) fail("a thread waits at a cluster's barrier without having arrived");
  current->in_cluster_barrier = false;
  cluster_barrier().wait(current->cluster_barriers++);
}

const char* exchange(const void* mine, size_t bytes) {
  if (bytes > kLaneBytes) fail("a lane gives too much at a time");
  Warp& warp = *current->self.warp;
  const uint64_t passed = current->exchanges++;
  char* given = warp.given[passed % 2][0];
  std::memcpy(given + current->self.lane * kLaneBytes, mine, bytes);
  warp.barrier.arrive();
  warp.barrier.wait(passed);
  return given;
}

void sleep(const void* address) {
  team->asleep[address].push_back(current);
  leave();
}

void wake(const void* address) {
  const auto found = team->asleep.find(address);
  if (found == team->asleep.end()) return;
  team->ready.insert(team->ready.end(), found->second.begin(), found->second.end());
  team->asleep.erase(found);
}

}  // namespace emulator
