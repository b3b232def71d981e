// The pass with bytes, in order. Included inside a target's region and an anonymous namespace, behind cpu/steps.inl and
// what int8/dots.inl wants of a target.
// clang-format off
#include "cpu/int8/bytes.inl"
#include "cpu/int8/dots.inl"
#include "cpu/int8/no_tiles.inl"
#include "cpu/int8/forward.inl"
// clang-format on
