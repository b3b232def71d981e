// What passes of int8 alone want beside the vectors of a target. Included inside a target's region, ahead of vec.inl.

#include "cpu/targets/no_tiles.inl"
#include "cpu/targets/rounding.inl"

constexpr int kPack = 2;  // activations are rough: h_t has 8 bits
