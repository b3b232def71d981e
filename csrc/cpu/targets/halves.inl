// What a target may have single instructions for when numbers have 16 or 8 bits, without them. Included inside a
// target's region, ahead of kernels.inl.

typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));

/// The first `count` numbers, the others zero.
RNNFAST_INLINE Halves load_first(const BFloat16* from, int64_t count) {
  Halves bits = {};
  __builtin_memcpy(&bits, from, count * sizeof(BFloat16));
  return bits;
}

/// Writes the first `count` numbers only.
RNNFAST_INLINE void store_first(BFloat16* to, Halves bits, int64_t count) {
  __builtin_memcpy(to, &bits, count * sizeof(BFloat16));
}

/// The lowest byte of each lane. With the mask, which changes nothing, g++ 12 finds the instructions for it.
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
typedef uint8_t WordBytes __attribute__((vector_size(kVectorBytes / 4)));
RNNFAST_INLINE WordBytes low_bytes(Words words) { return __builtin_convertvector(words & 0xff, WordBytes); }
