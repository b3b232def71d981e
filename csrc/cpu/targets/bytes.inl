// Products of bytes for targets without an instruction for four of them: signed by signed. Included inside a target's
// region, ahead of kernels.inl.

constexpr bool kUnsignedRows = false;

/// sums += the four products of the bytes in each lane
template <typename V>
RNNFAST_INLINE void add_bytes(V& sums, V row, V column) {
  sums += (row << 24 >> 24) * (column << 24 >> 24) + (row << 16 >> 24) * (column << 16 >> 24) +
          (row << 8 >> 24) * (column << 8 >> 24) + (row >> 24) * (column >> 24);
}
