// All that a target includes, ahead of its region: a function of these headers that the compiler does not inline must
// not be compiled for the target, or an older machine could be handed that copy by the linker.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "cpu/int8/layout.h"
#include "cpu/targets.h"

#define RNNFAST_INLINE inline __attribute__((always_inline))
#define RNNFAST_PRAGMA(text) _Pragma(#text)
// Loops over the rows and vectors of a tile must vanish, for their sums to live in registers.
#define RNNFAST_UNROLL RNNFAST_PRAGMA(GCC unroll 16)

// Within the region no lambda may handle a vector: g++ compiles the lambdas of a template for the baseline.
#if defined(__clang__)
#define RNNFAST_TARGET_BEGIN(features) \
  RNNFAST_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define RNNFAST_TARGET_END RNNFAST_PRAGMA(clang attribute pop)
#else
#define RNNFAST_TARGET_BEGIN(features) RNNFAST_PRAGMA(GCC push_options) RNNFAST_PRAGMA(GCC target(features))
#define RNNFAST_TARGET_END RNNFAST_PRAGMA(GCC pop_options)
#endif
