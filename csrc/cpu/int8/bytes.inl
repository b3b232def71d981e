// Rows as bytes: the operands of products.
//
// A row of x_t or h_(t-1) has one scale, so that its largest number becomes 127. Where the target multiplies unsigned
// bytes by signed ones (kUnsignedRows) a row holds its bytes plus 128, and sums begin at the offsets of the weights.

typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef uint8_t Bytes __attribute__((vector_size(kVectorBytes / 4)));

constexpr float kLargestByte = 127;

/// Vectors in a line of a panel.
constexpr int kLineVectors = int8::kUnits / kLanes<float>;

/// Rows of bytes, a constant distance apart: a multiple of 64 bytes, but not of many, which would share their place in
/// the caches. Zeros fill them up.
struct ByteRows {
  uint8_t* data;
  int64_t stride;

  static int64_t stride_for(int64_t numbers) { return divide_up(numbers, 64) / 2 * 128 + 64; }
  uint8_t* at(int64_t row) const { return data + row * stride; }
  /// Zeros behind so many numbers of a row.
  void fill(int64_t row, int64_t numbers) const { __builtin_memset(at(row) + numbers, 0, stride - numbers); }
};

/// The nearest whole numbers to v, of two the even ones, as bytes: they stand in the low bits of `shifted`.
template <bool whole>
RNNFAST_INLINE void store_bytes(uint8_t* to, Vec<float> v, int64_t count) {
  const Vec<float> shifted = v + (Exp<float>::round + (kUnsignedRows ? 128 : 0));
  const Bytes bytes = (Bytes)low_bytes((Words)shifted);
  if (whole)
    __builtin_memcpy(to, &bytes, sizeof bytes);
  else
    __builtin_memcpy(to, &bytes, count);
}

/// The largest magnitude of so many numbers; NaN or an infinity if one of them is no finite number.
inline float largest_of(const float* from, int64_t size) {
  Ints most = {};
  for (int64_t j = 0; j < size; j += kLanes<float>) {
    const Ints magnitude = (Ints)load_some(from + j, least(kLanes<float>, size - j)) & 0x7fffffff;
    most = most > magnitude ? most : magnitude;  // magnitudes of floats are in the order of their bits, NaN last
  }
  int32_t lanes[kLanes<float>], largest = 0;
  __builtin_memcpy(lanes, &most, sizeof lanes);
  for (int32_t lane : lanes) largest = lane > largest ? lane : largest;
  float result;
  __builtin_memcpy(&result, &largest, sizeof result);
  return result;
}

inline bool is_finite(float magnitude) { return magnitude <= std::numeric_limits<float>::max(); }

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Numbers as the bytes of a row. Returns the scale, largest / 127; NaN if `largest` is no finite number, so that all
/// that is made of the row is NaN. Below the second bound the inverse would overflow: such a row is one of zeros.
inline float quantize(uint8_t* to, const float* from, int64_t size, float largest) {
  const float inverse = largest >= 1e-30f && is_finite(largest) ? kLargestByte / largest : 0;
  for (int64_t j = 0; j < size; j += kLanes<float>) {
    const int64_t count = least(kLanes<float>, size - j);
    if (count == kLanes<float>)
      store_bytes<true>(to + j, load(from + j) * inverse, count);
    else
      store_bytes<false>(to + j, load_some(from + j, count) * inverse, count);
  }
  return is_finite(largest) ? largest / kLargestByte : kNaN;
}
