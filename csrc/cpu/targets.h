// The instruction sets that the kernels were compiled for, and the one that runs.
#pragma once

#include <span>
#include <string>

#include "cpu/layer.h"

namespace rnnfast::cpu {

struct Target {
  const char* name;
  bool (*available)();  // does this machine have it?
  bool (*preferred)();  // may it be chosen unasked? null: yes
  /// Kernels of the cell with that name; null if there is no such cell.
  const Kernels<float>* (*f32)(const char* cell);
  const Kernels<double>* (*f64)(const char* cell);
  const Kernels<BFloat16>* (*bf16)(const char* cell);
  /// Of layers in float32 that may multiply as bfloat16; null: f32 is as fast.
  const Kernels<float>* (*f32_narrow)(const char* cell);
  int64_t (*burn)(int64_t rounds);  // the arithmetic peak, see kernels.inl
  /// Of quantized layers: a forward pass alone, whose weights are those of int8/layout.h.
  const Kernels<float>* (*int8)(const char* cell);
};

#if defined(__x86_64__)
extern const Target kAmx;
extern const Target kAvx512Bf16;
extern const Target kAvx512Vnni;
extern const Target kAvx512;
extern const Target kAvxVnni;
extern const Target kAvx2;
#elif defined(__aarch64__)
extern const Target kNeonDotprod;
extern const Target kNeon;
#endif
extern const Target kGeneric;
extern const Target kAmxEmulated;

/// Everything that was compiled, best first, whether this machine has it or not. kAmxEmulated is for tests.
std::span<const Target* const> targets();

/// Picked at first use: the first available and preferred one of the list, or the one that RNNFAST_CPU_TARGET names.
/// Throws std::runtime_error, with the names this machine has, if it has not the one that is named.
const Target& target();

/// Names of the targets that this machine can run, separated by ", ": those that are preferred, best first, then the
/// others.
std::string available_targets();

}  // namespace rnnfast::cpu
