// Where the numbers of a quantized layer stand in memory: the same for every target, so that a saved model serves all
// of them. rnnfast/nn/quantization.py writes what the kernels read.
//
// A weight is a byte, signed, and a scale for each row of its matrix. Four neighbours along the depth of a product are
// a word of 4 bytes; the last one is filled up with zeros. A panel is 16 rows of the matrix, [words][16] words.
//
// For each panel of hidden units, and for each sum of the cell in turn: a SumHead, then [words of I][16] of w_ih and
// [words of P][16] of w_hh if the sum has them. With a projection there are behind all of it, for each panel of P, a
// ProjectionHead and [words of H][16] of w_hr. At the end stand kMargin bytes, which a tile may read.
#pragma once

#include <cstdint>

namespace rnnfast::cpu::int8 {

constexpr int64_t kUnits = 16, kWordBytes = 4, kLineBytes = kUnits * kWordBytes, kMargin = 15 * kLineBytes;

/// Of each unit of a panel. An offset is what the products of unsigned rows (x + 128) have too much, negative: -128
/// times the sum of the weights.
struct SumHead {
  float bias[kUnits], x_scale[kUnits], h_scale[kUnits];
  int32_t x_offset[kUnits], h_offset[kUnits];
};
struct ProjectionHead {
  float scale[kUnits];
  int32_t offset[kUnits];
};

constexpr int64_t panels_for(int64_t units) { return (units + kUnits - 1) / kUnits; }
constexpr int64_t words_for(int64_t numbers) { return (numbers + kWordBytes - 1) / kWordBytes; }

/// Bytes of a panel of hidden units. sums, x_sums, h_sums: the cell's, and how many of them have each matrix.
constexpr int64_t panel_bytes(int64_t sums, int64_t x_sums, int64_t h_sums, int64_t I, int64_t P) {
  return sums * static_cast<int64_t>(sizeof(SumHead)) + kLineBytes * (x_sums * words_for(I) + h_sums * words_for(P));
}

/// Bytes of a panel of the projection of H hidden units.
constexpr int64_t projection_bytes(int64_t H) {
  return static_cast<int64_t>(sizeof(ProjectionHead)) + kLineBytes * words_for(H);
}

}  // namespace rnnfast::cpu::int8
