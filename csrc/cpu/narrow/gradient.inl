// The gradient of a matrix: the sum over batch rows and time steps of products of two vectors, as float.

/// Rows of dz that are gathered before they go into the weight gradients: enough for the tiles, few enough for the L2
/// cache. Room for three steps, so that a step never overwrites the one before it.
constexpr int64_t kChunkRows = 3 * kGroupRows;
constexpr int64_t kChunkWords = words_for(kChunkRows);

/// In the order in which the tiles add to it.
struct NarrowGradient {
  float* tiles;  // for each panel of columns [blocks][kTileRows][width]
  int64_t rows, columns;

  int64_t blocks() const { return divide_up(rows, kTileRows); }
  int64_t size() const { return padded<float>(columns) * blocks() * kTileRows; }
};

/// The working memory of such a product.
struct GradientOperands {
  float* left;     // [blocks][kChunkWords][kTileRows], or as tiles.inl has it
  float* columns;  // [panels][kChunkWords][kPanel], one panel a thread
};

/// Puts the left side's columns [first, end), of `size`, into `left`: words across the rows.
template <typename From>
void pack_left(float* left, const From* const* rows, int64_t count, int64_t first, int64_t end, int64_t size) {
  const int64_t words = words_for(count);
  if constexpr (kTiles) {
    constexpr int lanes = kLanes<float>;
    for (int64_t column = first; column < end; column += lanes)
      for (int64_t k = 0; k < words; k += lanes) {
        const int64_t some = least(lanes, size - column);
        Vec<float> square[lanes];
        for (int i = 0; i < lanes; ++i)
          square[i] =
              some > 0 ? words_across(rows + (k + i) * kPack, count - (k + i) * kPack, column, some) : Vec<float>{};
        transpose<float>(square);
        for (int i = 0; i < lanes; ++i) store(left + (column + i) * kChunkWords + k, square[i]);
      }
  } else {
    constexpr int64_t most = 16 * kTileRows;  // columns at a time
    for (; first < end; first += most) {
      const int64_t width = least(most, end - first);
      float row[most + kLanes<float>];
      for (int64_t k = 0; k < words; ++k) {
        for (int64_t j = 0; j < width; j += kLanes<float>) {
          const int64_t some = least(kLanes<float>, size - first - j);
          store(row + j, some > 0 ? words_across(rows + k * kPack, count - k * kPack, first + j, some) : Vec<float>{});
        }
        for (int64_t j = 0; j < width; j += kTileRows)
          __builtin_memcpy(left + (first + j) * kChunkWords + k * kTileRows, row + j, kTileRows * sizeof(float));
      }
    }
  }
}

/// Adds one panel of the product to its tiles.
template <int V>
void add_gradient_panel(const float* left, const float* columns, float* tiles, int64_t blocks, int64_t count) {
  constexpr int64_t width = V * kLanes<float>;
  const int64_t words = words_for(count);
  for (int64_t block = 0; block < blocks; ++block, tiles += kTileRows * width, left += kTileRows * kChunkWords) {
    if constexpr (kTiles) {
      NoWork none;
      add_tiles<kTileRows, 1, V, false>(tiles, nullptr, 0, left, kChunkWords, words, columns, 0, none);
    } else {
      const float* row[kTileRows];
      for (int m = 0; m < kTileRows; ++m) row[m] = left + m;
      // Far away in a large matrix, and wanted only at the end of a chain.
      for (int64_t line = 0; line < kTileRows * V; ++line) fetch_to_write(tiles + line * kLanes<float>);
      for (int64_t first = 0; first < words; first += kChain)
        add_chain<kTileRows, 1, V, kTileRows, false, float>(tiles, nullptr, 0, row, first, least(kChain, words - first),
                                                            columns + first * width, 0);
    }
  }
}

/// grad[i][j] += the sum over `count` rows of left[i] right[j], with the left side packed.
template <typename From>
void add_gradient_of(Member* member, const GradientOperands& operands, const NarrowGradient& grad,
                     const From* const* right, int64_t count) {
  share(member, divide_up(grad.columns, kPanel<float>), [&](int64_t panel) {
    const int64_t first = panel * kPanel<float>, columns = least(kPanel<float>, grad.columns - first);
    const int64_t width = panel_width<float>(columns);
    float* packed = operands.columns + (member ? panel * kChunkWords * kPanel<float> : 0);
    pack_operand_rows(packed, right, count, first, columns);
    float* tiles = grad.tiles + first * grad.blocks() * kTileRows;
    if (width == kPanel<float>)
      add_gradient_panel<kTileVectors>(operands.left, packed, tiles, grad.blocks(), count);
    else if (width > kLanes<float>)
      add_gradient_panel<kHalfPanelVectors>(operands.left, packed, tiles, grad.blocks(), count);
    else
      add_gradient_panel<1>(operands.left, packed, tiles, grad.blocks(), count);
  });
}

/// The same with the left side where it stands.
template <typename Left, typename Right>
void add_gradient_of(Member* member, const GradientOperands& operands, const NarrowGradient& grad,
                     const Left* const* left, const Right* const* right, int64_t count) {
  constexpr int64_t some = 16 * kTileRows;  // columns that are packed at a time
  const int64_t end = grad.blocks() * kTileRows;
  share(member, divide_up(end, some), [&](int64_t item) {
    pack_left(operands.left, left, count, item * some, least(end, (item + 1) * some), grad.rows);
  });
  add_gradient_of(member, operands, grad, right, count);
}

/// The scratch of all threads, one like the other.
struct Threads {
  float* const* scratch;
  int count;

  /// to[j] = the sum over the threads of what stands where from[j] stands with the first one.
  template <typename To>
  void sum(To* to, const float* from, int64_t size) const {
    const int64_t offset = from - scratch[0];
    for (int64_t j = 0; j < size; j += kLanes<float>) {
      const int64_t some = least(kLanes<float>, size - j);
      Vec<float> total = {};
      for (int thread = 0; thread < count; ++thread) total += load_some(scratch[thread] + offset + j, some);
      store_some(to + j, total, some);
    }
  }
};
