// The instruction sets that the kernels were compiled for, and the one that runs.
#pragma once

#include <span>
#include <string>

#include "cpu/layer.h"

namespace rnnfast::cpu {

struct Target {
  const char* name;
  bool (*available)();  // does this machine have it?
  /// Kernels of the cell with that name; null if there is no such cell.
  const Kernels<float>* (*f32)(const char* cell);
  const Kernels<double>* (*f64)(const char* cell);
  int64_t (*burn)(int64_t rounds);  // the arithmetic peak, see kernels.inl
};

#if defined(__x86_64__)
extern const Target kAvx512;
extern const Target kAvx2;
#elif defined(__aarch64__)
extern const Target kNeon;
#endif
extern const Target kGeneric;

/// Everything that was compiled, best first, whether this machine has it or not.
std::span<const Target* const> targets();

/// Picked at first use: the first available one of the list, or the one that RNNFAST_CPU_TARGET names.
/// Throws std::runtime_error, with the names this machine has, if it has not the one that is named.
const Target& target();

/// Names of the targets that this machine can run, best first, separated by ", ".
std::string available_targets();

}  // namespace rnnfast::cpu
