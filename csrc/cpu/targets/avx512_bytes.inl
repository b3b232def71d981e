// Products of bytes by VPDPBUSD, which the targets that have it share. Included inside a target's region, behind
// avx512.inl.

constexpr bool kUnsignedRows = true;
constexpr int kDotRows = 12;

/// sums += the four products of the bytes in each lane, those of the row being unsigned
typedef int32_t ByteSums __attribute__((vector_size(64)));
RNNFAST_INLINE void add_bytes(ByteSums& sums, ByteSums row, ByteSums column) {
  sums = (ByteSums)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)row, (__m512i)column);
}
