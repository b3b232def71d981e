// Where the rows of a CSV or JSONL file end, so that a range of them can be read without the rest.
//
// Left out on purpose: what is in the rows. Quotes are understood as Arrow's reader of CSV does it, which reads the
// ranges: a field that begins with a quote goes to the next quote that is not doubled, any other quote is a letter, a
// row ends with \r, \n or both, and an empty line is no row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace rnnfast::text {

class RowEnds {
 public:
  // quoted: CSV with commas; else every line is a row, an empty one too.
  explicit RowEnds(bool quoted) : quoted_(quoted) {}

  // Takes the next bytes of the file; appends the place behind each row that ends in them, counted from the file's
  // first byte.
  void scan(std::string_view data, std::vector<int64_t>& ends) {
    quoted_ ? scan_csv(data, ends) : scan_lines(data, ends);
    before_ += data.size();
  }

  // Whether a row has begun that no line end has ended yet.
  bool open() const { return state_ != State::kRow; }

 private:
  enum class State { kRow, kField, kLetters, kQuoted, kQuote };  // what the next byte begins, or is within

  int64_t place(std::ptrdiff_t in_data) const { return static_cast<int64_t>(before_) + in_data; }

  void scan_lines(std::string_view data, std::vector<int64_t>& ends) {
    const char *at = data.data(), *const end = at + data.size();
    while (at < end) {
      const char* line_end = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
      state_ = line_end ? State::kRow : State::kLetters;
      if (!line_end) return;
      at = line_end + 1;
      ends.push_back(place(at - data.data()));
    }
  }

  void scan_csv(std::string_view data, std::vector<int64_t>& ends) {
    const char *at = data.data(), *const end = at + data.size();
    constexpr std::string_view mark = "\xef\xbb\xbf";  // of the byte order, at the head of a file
    for (size_t i = before_; i < mark.size() && at < end && *at == mark[i]; ++i) ++at;
    for (; at < end; ++at) {
      const char c = *at;
      if (state_ == State::kQuoted) {
        at = static_cast<const char*>(std::memchr(at, '"', static_cast<size_t>(end - at)));
        if (!at) return;
        state_ = State::kQuote;
      } else if (c == '\n' || c == '\r') {
        // Of \r\n the second is an empty line.
        if (state_ != State::kRow) ends.push_back(place(at + 1 - data.data()));
        state_ = State::kRow;
      } else if (c == ',') {
        state_ = State::kField;
      } else if (c == '"' && state_ != State::kLetters) {
        state_ = State::kQuoted;  // the field's first byte, or the second of a doubled quote
      } else {
        state_ = State::kLetters;
      }
    }
  }

  bool quoted_;
  State state_ = State::kRow;
  size_t before_ = 0;  // bytes taken
};

}  // namespace rnnfast::text
