// A column of texts in Arrow's layout, checked once: whoever has one need not look for bad input.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace rnnfast::text {

struct StringBuffers {
  std::string_view data;     // the bytes of all texts
  std::string_view offsets;  // of int32_t or int64_t: where a text begins in data, and where the last one ends
  std::string_view present;  // a bit for each text, lowest first, 0 for a null; empty: there is no null
  int64_t offset_bytes;      // 4 or 8
  int64_t skipped;           // texts before the first one, of a slice
  int64_t size;              // texts
};

struct NullText : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

class Strings {
 public:
  // Takes buffers that must outlive it. `first_row` is what errors call the first text.
  //
  // Throws NullText where a text is null; std::invalid_argument where a buffer is too short, an offset points outside,
  // or a text is not UTF-8.
  Strings(const StringBuffers& buffers, int64_t first_row);

  int64_t size() const { return buffers_.size; }
  std::string_view operator[](int64_t i) const {
    const int64_t from = begin(i);
    return buffers_.data.substr(static_cast<size_t>(from), static_cast<size_t>(begin(i + 1) - from));
  }

 private:
  int64_t begin(int64_t i) const;  // of text i in the data; that of text size() is the end of the last one
  void check_places(int64_t first_row) const;
  void check_nulls(int64_t first_row) const;
  void check_utf8(int64_t first_row) const;

  StringBuffers buffers_;
};

}  // namespace rnnfast::text
