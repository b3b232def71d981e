// A GPU for tests, on one thread of the CPU: enough of CUDA to run the kernels of csrc/cuda where no GPU is.
//
// Every thread of a kernel is a fiber that runs until it waits for others; which of those that can go on comes next is
// drawn at random from a seed. So threads overtake each other at every barrier, shared memory is NaN until somebody
// writes it, and a missing barrier or an unwritten number gives a wrong result for some seed. What one fiber does
// between two waits is not interrupted, and speed says nothing about a GPU.
//
// The blocks of a cluster, or of a cooperative launch, are there together; others run one after the other. A misuse
// (a deadlock, a thread that leaves others waiting, a write past shared memory, a launch that the device cannot hold)
// prints what is wrong and aborts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace emulator {

struct Index {
  unsigned x, y, z;
};

/// What the device is said to have. Tests change it, so that the same layer is planned in another way; each of them is
/// a device of its own to those who remember what they asked.
struct Device {
  int multiprocessors = 132;
  int capability = 90;
  int shared_bytes = 227 << 10;  // that one block may have
  int largest_cluster = 16;      // blocks
  int number = 0;
};

extern Device device;
extern uint64_t seed;

struct Launch {
  Index grid, block, cluster;
  size_t shared_bytes;
  bool cooperative;
};

/// Runs body() once for each thread of the grid.
void run(const Launch&, const std::function<void()>& body);

constexpr int kWarp = 32;
constexpr int kLaneBytes = 64;  // that a lane may give to the others of its warp at a time

struct Warp;
struct Block;

/// Who the fiber that runs now is.
struct Self {
  Index thread, block, block_size, grid_size;
  int lane, cluster_rank, cluster_size;
  Warp* warp;
  Block* in;
};
const Self& self();

char* shared_memory();          // of the own block
char* shared_memory(int rank);  // of a block of the own cluster

void wait_for_block();
void arrive_at_cluster();
void wait_for_cluster();

/// Gives the bytes to the other lanes and returns what each of them gave, kLaneBytes apart. All lanes must call it.
const char* exchange(const void* mine, size_t bytes);

/// Waits until somebody calls wake() with the same address.
void sleep(const void* address);
void wake(const void* address);

[[noreturn]] void fail(const char* what);

}  // namespace emulator
