// What int8/tiles.inl declares, for targets without tile registers. Included behind int8/dots.inl.

constexpr int64_t kBlockRows = kDotRows;

/// The height of blocks, as even as whole rows allow.
inline int64_t block_height(int64_t rows) { return divide_up(rows, divide_up(rows, kBlockRows)); }

struct ByteTiles {
  explicit ByteTiles(int64_t) {}
};

/// to[m][unit] = begin[unit] + the sum over the words of rows[m] . panel[unit], for at most kBlockRows rows.
RNNFAST_INLINE void set_product(int32_t* to, const int32_t* begin, const uint8_t* row, int64_t stride, int64_t rows,
                                int64_t words, const uint8_t* panel) {
  set_dots_of(rows, to, begin, row, stride, words, panel);
}
