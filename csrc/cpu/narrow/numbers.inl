// bfloat16 in memory, and the operands of products: what a row of a product and a packed panel hold.
//
// A panel is made of words of 4 bytes. Where the target multiplies bfloat16 itself (kPack == 2), a word is a pair of
// neighbours along the depth of the product, as its instruction wants them; else it is a float. Sums are floats in
// either case. Depths are counted in words, and filled up with zeros to whole steps of kDepth words.

/// What a product multiplies.
typedef typename std::conditional<kPack == 2, BFloat16, float>::type Operand;

/// The numbers in a line of the cache.
template <typename Number>
constexpr int64_t kLine = 64 / sizeof(Number);

/// Words for so many numbers.
constexpr int64_t words_for(int64_t numbers) { return divide_up(numbers, kPack * kDepth) * kDepth; }

/// The same filled up with zeros.
constexpr int64_t filled(int64_t numbers) { return words_for(numbers) * kPack; }

/// Words from one row of operands to the next, such that the rows of a tile register are in different sets of the L1
/// cache: an odd number of its lines.
constexpr int64_t spread(int64_t words) { return kTiles ? words | kDepth : words; }

RNNFAST_INLINE Halves bits_of(const float* from, int64_t count) { return narrowed(load_some(from, count)); }

/// Up to a vector's lanes.
RNNFAST_INLINE void copy_some(float* to, const float* from, int64_t count) {
  store_some(to, load_some(from, count), count);
}
RNNFAST_INLINE void copy_some(BFloat16* to, const BFloat16* from, int64_t count) {
  const Halves bits = bits_of(from, count);
  if (count == kLanes<float>)
    __builtin_memcpy(to, &bits, sizeof bits);
  else
    store_first(to, bits, count);
}

/// to[0 .. size) = from[0 .. size)
template <typename To, typename From>
RNNFAST_INLINE void convert(To* to, const From* from, int64_t size) {
  if constexpr (sizeof(To) == sizeof(From)) {
    // By whole vectors, since a row is too short for a call of memcpy to be worth it.
    constexpr int64_t some = kVectorBytes / sizeof(To);
    int64_t j = 0;
    for (; j + some <= size; j += some) __builtin_memcpy(to + j, from + j, kVectorBytes);
    for (; j < size; j += kLanes<float>) copy_some(to + j, from + j, least(kLanes<float>, size - j));
  } else {
    for (int64_t j = 0; j < size; j += kLanes<float>) {
      const int64_t count = least(kLanes<float>, size - j);
      store_some(to + j, load_some(from + j, count), count);
    }
  }
}

/// So many numbers, one after another, as words; zeros behind them.
template <typename From>
RNNFAST_INLINE Vec<float> words_along(const From* from, int64_t numbers) {
  if constexpr (kPack == 1) {
    return load_some(from, numbers);
  } else {
    constexpr int64_t lanes = kLanes<float>;
    Vec<float> words;
    if (numbers == kPack * lanes) {
      if constexpr (sizeof(From) == sizeof(BFloat16)) {
        __builtin_memcpy(&words, from, sizeof words);
      } else {
        const TwoHalves halves = narrowed(load(from), load(from + lanes));
        __builtin_memcpy(&words, &halves, sizeof words);
      }
      return words;
    }
    const int64_t first = least(lanes, numbers), rest = numbers - first;
    Halves halves[2] = {bits_of(from, first), {}};
    if (rest > 0) halves[1] = bits_of(from + lanes, rest);
    __builtin_memcpy(&words, halves, sizeof words);
    return words;
  }
}

/// Words across kPack rows: the numbers [first, first + count) of each. `rows`: how many of these rows there are; the
/// others are zeros.
template <typename From>
RNNFAST_INLINE Vec<float> words_across(const From* const* from, int64_t rows, int64_t first, int64_t count) {
  if constexpr (kPack == 1) {
    return rows > 0 ? Vec<float>(load_some(from[0] + first, count)) : Vec<float>{};
  } else {
    const Bits low = rows > 0 ? __builtin_convertvector(bits_of(from[0] + first, count), Bits) : Bits{};
    const Bits high = rows > 1 ? __builtin_convertvector(bits_of(from[1] + first, count), Bits) : Bits{};
    return (Vec<float>)(low | high << 16);
  }
}

/// Zeros behind the numbers of a row of operands.
RNNFAST_INLINE void fill(Operand* row, int64_t numbers) {
  __builtin_memset(row + numbers, 0, (filled(numbers) - numbers) * sizeof(Operand));
}

/// One panel of a matrix whose columns stand one after another, column j at from + j * depth. Returns its end.
template <typename From>
float* pack_operand_columns(float* to, const From* from, int64_t columns, int64_t depth) {
  constexpr int lanes = kLanes<float>;
  const int64_t width = panel_width<float>(columns), words = words_for(depth);
  for (int64_t k = 0; k < words; k += lanes)
    for (int64_t j = 0; j < width; j += lanes) {
      const int64_t numbers = least(lanes * kPack, depth - k * kPack);
      Vec<float> square[lanes];
      for (int i = 0; i < lanes; ++i)
        square[i] =
            j + i < columns && numbers > 0 ? words_along(from + (j + i) * depth + k * kPack, numbers) : Vec<float>{};
      transpose<float>(square);
      for (int i = 0; i < least(lanes, words - k); ++i) store(to + (k + i) * width + j, square[i]);
    }
  return to + words * width;
}

/// One panel of the columns [first, first + columns) of some rows. Returns its end.
template <typename From>
float* pack_operand_rows(float* to, const From* const* rows, int64_t count, int64_t first, int64_t columns) {
  const int64_t width = panel_width<float>(columns), words = words_for(count);
  for (int64_t k = 0; k < words; ++k, to += width)
    for (int64_t j = 0; j < width; j += kLanes<float>) {
      const int64_t lanes = least(kLanes<float>, columns - j);
      store(to + j, lanes > 0 ? words_across(rows + k * kPack, count - k * kPack, first + j, lanes) : Vec<float>{});
    }
  return to;
}

/// at[row][column] = the sum over k of rows[row][k] * panel[k][column], over `depth` words; zero if `rows` is null.
template <int M, int P, int V, typename Work>
void set_operand_product(float* at, const float* const* rows, int64_t blocks, int64_t depth, const float* panel,
                         bool far, Work& work) {
  if constexpr (kTiles) {
    if (rows)
      return add_tiles<M, P, V, true>(at, kZeros<float>, 0, rows[0], rows[1] - rows[0], depth, panel,
                                      depth * kPanel<float>, work);
  }
  set_product<M, P, V>(at, rows, blocks, depth, panel, far);
}

/// to[row] = from[row] times the packed panels, plus what the addends (each null if there is none) hold for the row.
template <typename To, typename Addend, typename Second = Addend>
struct OperandProduct {
  typedef float Element;
  static constexpr int64_t kSums = 1;
  const float* const* from;  // null: zeros
  const float* weights;      // panels of [depth][width]
  int64_t depth, columns;    // depth: in words
  int64_t rows;
  To* const* to;
  const Addend* const* addend = nullptr;
  const Second* const* second_addend = nullptr;
  Operand* const* again = nullptr;  // written as well, if there is one

  bool far() const { return is_far<float>(depth * columns); }
  int64_t stripe() const { return far() ? kStripe : 1; }
  int64_t end() const { return rows; }
  bool backward() const { return false; }
  int64_t steps() const { return from ? depth / kDepth : 0; }

  template <int M, int P, int V>
  void run(int64_t row, int64_t blocks, int64_t column) const {
    alignas(64) float sums[kStripe * M * kWidth<P, V, float>];
    NoWork none;
    multiply<M, P, V>(sums, 0, row, blocks, column, none);
    for (int64_t m = 0; m < least(blocks * M, rows - row); ++m)
      finish_row(sums + m * kWidth<P, V, float>, 0, kWidth<P, V, float>, row + m, column);
  }

  template <int M, int P, int V, typename Work>
  RNNFAST_INLINE void multiply(float* sums, int64_t, int64_t row, int64_t blocks, int64_t column, Work& work) const {
    set_operand_product<M, P, V>(sums, from ? from + row : nullptr, blocks, depth, weights + column * depth, far(),
                                 work);
  }

  RNNFAST_INLINE void finish_row(const float* sums, int64_t, int64_t width, int64_t row, int64_t column) const {
    width = least(width, columns - column);
    for (int64_t j = 0; j < width; j += kLanes<float>) {
      const int64_t at = column + j, count = least(kLanes<float>, width - j);
      Vec<float> sum = load(sums + j);
      if (addend) sum += load_some(addend[row] + at, count);
      if (second_addend) sum += load_some(second_addend[row] + at, count);
      store_some(to[row] + at, sum, count);
      if (again) store_some(again[row] + at, sum, count);
    }
  }
};
