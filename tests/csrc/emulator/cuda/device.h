// Stands in for csrc/cuda/device.h where the kernels run in the emulator: the same functions, as plain C++.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#define RNNFAST_UNROLL
#define RNNFAST_UNROLL_BY(count)

namespace rnnfast::cuda {

/// 11 significant bits.
struct Half {
  _Float16 value;
};

/// The upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

inline float to_sum(float x) { return x; }
inline double to_sum(double x) { return x; }
inline float to_sum(Half x) { return float(x.value); }
inline float to_sum(BFloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

template <typename Element, typename Sum>
Element from_sum(Sum x) {
  return static_cast<Element>(x);
}
template <>
inline Half from_sum<Half>(float x) {
  return {_Float16(x)};
}
template <>
inline BFloat16 from_sum<BFloat16>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return {0x7fff};
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline float exponential(float x) { return std::exp(x); }
inline double exponential(double x) { return std::exp(x); }
inline float reciprocal(float x) { return 1 / x; }
inline double reciprocal(double x) { return 1 / x; }

inline char* shared_memory() { return emulator::shared_memory(); }

inline void renew(int&) {}

struct alignas(16) Chunk {
  uint32_t word[4];
};

template <typename To, typename From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline uint32_t bits_of(float x) { return same_bits<uint32_t>(x); }
inline float float_of(uint32_t bits) { return same_bits<float>(bits); }
inline uint32_t bits_of(Half x) { return same_bits<uint16_t>(x); }
inline uint32_t bits_of(BFloat16 x) { return x.bits; }

inline float round_to_tf32(float x) { return x != x ? x : float_of((bits_of(x) + 0x1000) & ~0x1fffu); }

template <typename Number>
Number of_neighbour(Number x, int bit) {
  Number given;
  std::memcpy(&given, emulator::exchange(&x, sizeof x) + (emulator::self().lane ^ bit) * emulator::kLaneBytes,
              sizeof given);
  return given;
}

/// The i-th number of a lane's registers.
inline float number_of(const uint32_t* words, int i, Half) {
  return to_sum(same_bits<Half>(uint16_t(words[i / 2] >> i % 2 * 16)));
}
inline float number_of(const uint32_t* words, int i, BFloat16) {
  return to_sum(BFloat16{uint16_t(words[i / 2] >> i % 2 * 16)});
}
inline float number_of(const uint32_t* words, int i, float) {
  if (words[i] & 0x1fff && float_of(words[i]) == float_of(words[i])) emulator::fail("a number is not rounded to TF32");
  return float_of(words[i]);
}

template <typename Operand>
void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Operand operand) {
  constexpr int numbers = 4 / sizeof(Operand);  // of a register
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const char* given = emulator::exchange(mine, sizeof mine);
  const int lane = emulator::self().lane;
  const auto of = [&](int from) { return reinterpret_cast<const uint32_t*>(given + from * emulator::kLaneBytes); };
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4, column = lane % 4 * 2 + i % 2;
    for (int q = 0; q < 4; ++q)
      for (int half = 0; half < 2; ++half)
        for (int k = 0; k < numbers; ++k)
          sum[i] += number_of(of(row * 4 + q) + half * 2 + i / 2, k, operand) *
                    number_of(of(column * 4 + q) + 4 + half, k, operand);
  }
}

inline void prefetch(const void*) {}

typedef uint64_t Letter;

inline void post(Letter* to, uint32_t first, uint32_t second, unsigned step) {
  const uint32_t words[] = {first, second};
  for (int i = 0; i < 2; ++i) {
    if (to[i] >> 32 >= step) emulator::fail("a letter is sent twice");
    to[i] = Letter(step) << 32 | words[i];
    emulator::wake(to + i);
  }
}
/// Where they have not come it returns when something else has.
inline bool have_come(const Letter* from, unsigned step, Chunk& chunk) {
  for (int i = 0; i < 4; ++i) {
    if (from[i] >> 32 > step) emulator::fail("a letter is gone before it was read");
    if (from[i] >> 32 < step) {
      emulator::sleep(from + i);
      return false;
    }
    chunk.word[i] = uint32_t(from[i]);
  }
  return true;
}

struct Barrier {
  int32_t bytes;  // announced and not there yet; negative while more is there than was announced
  uint16_t armed, phase;
};

inline void advance(Barrier* barrier) {
  if (!barrier->armed || barrier->bytes) return;
  barrier->armed = 0;
  ++barrier->phase;
  emulator::wake(barrier);
}

inline void wait_for_cluster() {
  emulator::arrive_at_cluster();
  emulator::wait_for_cluster();
}
inline void begin(Barrier* barrier) { *barrier = {0, 0, 0}; }
inline void arm(Barrier* barrier, unsigned bytes) {
  if (barrier->armed) emulator::fail("a barrier is armed twice in one phase");
  barrier->armed = 1;
  barrier->bytes += int32_t(bytes);
  advance(barrier);
}
inline void wait_for(Barrier* barrier, unsigned parity) {
  while (barrier->phase % 2 == parity) emulator::sleep(barrier);
}

template <typename Pointer>
Pointer* address_in(Pointer* shared, int rank) {
  return reinterpret_cast<Pointer*>(emulator::shared_memory(rank) +
                                    (reinterpret_cast<char*>(shared) - emulator::shared_memory()));
}
inline void send_bytes(int rank, void* shared, const void* from, int bytes, Barrier* barrier) {
  std::memcpy(address_in(static_cast<char*>(shared), rank), from, bytes);
  Barrier* there = address_in(barrier, rank);
  there->bytes -= bytes;
  advance(there);
}
inline void send(int rank, void* shared, const Chunk& chunk, Barrier* barrier) {
  send_bytes(rank, shared, &chunk, sizeof chunk, barrier);
}
inline void send(int rank, void* shared, float x, float y, Barrier* barrier) {
  const float both[] = {x, y};
  send_bytes(rank, shared, both, sizeof both, barrier);
}

}  // namespace rnnfast::cuda
