// Products of rows of bytes with a panel, in registers.
//
// Of the target: kUnsignedRows; kDotRows, the most rows whose sums registers hold; and add_bytes(sums, row, column),
// which adds to each lane of `sums` the four products of the bytes in that lane.

/// Chains of additions that a few rows need to hide the latency of one.
template <int M>
constexpr int kDotChains = M * kLineVectors >= 6   ? 1
                           : M * kLineVectors >= 3 ? 2
                           : M * kLineVectors >= 2 ? 4
                                                   : 8;

RNNFAST_INLINE Ints load_ints(const void* from) {
  Ints v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

/// to[m][unit] = begin[unit] + the sum over the words of rows[m] . panel[unit], for M rows from `row` on.
template <int M>
__attribute__((noinline)) void set_dots(int32_t* to, const int32_t* begin, const uint8_t* row, int64_t stride,
                                        int64_t words, const uint8_t* panel) {
  constexpr int V = kLineVectors, C = kDotChains<M>;
  Ints sums[C][M][V] = {};
  // Of four rows each, or there would be more pointers than registers for them.
  const uint8_t* quad[divide_up(M, 4)];
  for (int q = 0; q < divide_up(M, 4); ++q) quad[q] = row + 4 * q * stride;
  int64_t k = 0;
#pragma GCC unroll 2
  for (; k + C <= words; k += C) {
    RNNFAST_UNROLL
    for (int c = 0; c < C; ++c) {
      Ints columns[V];
      RNNFAST_UNROLL
      for (int v = 0; v < V; ++v) columns[v] = load_ints(panel + (k + c) * int8::kLineBytes + v * kVectorBytes);
      RNNFAST_UNROLL
      for (int m = 0; m < M; ++m) {
        int32_t word;
        __builtin_memcpy(&word, quad[m / 4] + m % 4 * stride + (k + c) * int8::kWordBytes, sizeof word);
        const Ints bytes = Ints{} + word;
        RNNFAST_UNROLL
        for (int v = 0; v < V; ++v) add_bytes(sums[c][m][v], bytes, columns[v]);
      }
    }
  }
  for (; k < words; ++k) {
    RNNFAST_UNROLL
    for (int m = 0; m < M; ++m) {
      int32_t word;
      __builtin_memcpy(&word, quad[m / 4] + m % 4 * stride + k * int8::kWordBytes, sizeof word);
      RNNFAST_UNROLL
      for (int v = 0; v < V; ++v)
        add_bytes(sums[0][m][v], Ints{} + word, load_ints(panel + k * int8::kLineBytes + v * kVectorBytes));
    }
  }
  RNNFAST_UNROLL
  for (int m = 0; m < M; ++m) {
    RNNFAST_UNROLL
    for (int v = 0; v < V; ++v) {
      Ints sum = sums[0][m][v];
      if (kUnsignedRows) sum += load_ints(begin + v * kLanes<float>);
      RNNFAST_UNROLL
      for (int c = 1; c < C; ++c) sum += sums[c][m][v];
      __builtin_memcpy(to + m * int8::kUnits + v * kLanes<float>, &sum, sizeof sum);
    }
  }
}

/// The same for a number of rows known only at run time, 1 to kDotRows.
template <int M = kDotRows>
void set_dots_of(int64_t rows, int32_t* to, const int32_t* begin, const uint8_t* row, int64_t stride, int64_t words,
                 const uint8_t* panel) {
  if constexpr (M > 1)
    if (rows < M) return set_dots_of<M - 1>(rows, to, begin, row, stride, words, panel);
  set_dots<M>(to, begin, row, stride, words, panel);
}
