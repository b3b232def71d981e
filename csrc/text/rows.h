// Where the rows of a CSV or JSONL file end, so that a range of them can be read without the rest.
//
// Left out on purpose: what is in the rows. Quotes are understood as Arrow's reader of CSV does it, which reads the
// ranges: a field that begins with a quote goes to the next quote that is not doubled, any other quote is a letter, a
// row ends with \r, \n or both, and an empty line is no row. Two things Arrow does not know: an escape counts in front
// of a quote alone, and a quote that nobody closes ends with its line.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace rnnfast::text {

// The signs of a CSV file; -1 for one that it does not have. Without a quote the escape takes the meaning from the
// separator and from line ends, with one it does so inside quotes.
struct Signs {
  int separator = ',', quote = '"', escape = -1;
};

class RowEnds {
 public:
  // quoted: CSV; else every line is a row, an empty one too.
  // fields: of each row. Where it is known (> 0), a quote that is not closed costs its line, and not all after it.
  RowEnds(bool quoted, Signs signs, int64_t fields) : quoted_(quoted), signs_(signs), fields_(fields) {}

  // Takes the next bytes of the file; appends the place behind each row that ends in them, counted from the file's
  // first byte, and to `broken` those of the rows that have a quote which is not closed.
  void scan(std::string_view data, std::vector<int64_t>& ends, std::vector<int64_t>& broken) {
    if (!quoted_) {
      scan_lines(data, ends);
      before_ += static_cast<int64_t>(data.size());
    } else if (held_.empty()) {
      scan_csv(data, 0, ends, broken);
    } else {
      const std::string joined = std::move(held_.append(data));
      held_.clear();
      scan_csv(joined, joined.size() - data.size(), ends, broken);
    }
  }

  // The same for what is left when no more bytes come: of an open quote each line.
  void finish(std::vector<int64_t>& ends, std::vector<int64_t>& broken) {
    while (fields_ > 0 && (state_ == State::kQuoted || state_ == State::kEscaped)) {
      const std::string rest = std::move(held_);
      held_.clear();
      const size_t line_end = rest.find_first_of("\r\n");
      const size_t next = line_end == std::string::npos ? rest.size() : line_end + 1;
      before_ -= static_cast<int64_t>(rest.size() - next);
      ends.push_back(before_);
      broken.push_back(before_);
      begin_row();
      scan_csv(std::string_view(rest).substr(next), 0, ends, broken);
    }
  }

  // Whether a row has begun that no line end has ended yet.
  bool open() const { return state_ != State::kRow; }

 private:
  // What the next byte begins, or is within; kQuote is behind a quote in quotes, kEscaped behind an escape there, and
  // kTaken behind one without quotes.
  enum class State { kRow, kField, kLetters, kQuoted, kQuote, kEscaped, kTaken };

  void begin_row() {
    state_ = State::kRow;
    separators_ = 0;
  }

  void scan_lines(std::string_view data, std::vector<int64_t>& ends) {
    const char *at = data.data(), *const end = at + data.size();
    while (at < end) {
      const char* line_end = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
      state_ = line_end ? State::kRow : State::kLetters;
      if (!line_end) return;
      at = line_end + 1;
      ends.push_back(before_ + (at - data.data()));
    }
  }

  // data: from `begin` on new, before that the open quote and what came after it.
  void scan_csv(std::string_view data, size_t begin, std::vector<int64_t>& ends, std::vector<int64_t>& broken) {
    const int64_t first = before_ - static_cast<int64_t>(begin);  // the place of data[0]
    const int separator = signs_.separator, quote = signs_.quote, escape = signs_.escape;
    size_t opened = 0;  // where the last quote opened
    size_t at = begin;
    constexpr std::string_view mark = "\xef\xbb\xbf";  // of the byte order, at the head of a file
    for (size_t i = static_cast<size_t>(before_); i < mark.size() && at < data.size() && data[at] == mark[i]; ++i) ++at;
    for (; at < data.size(); ++at) {
      const int c = static_cast<unsigned char>(data[at]);
      if (state_ == State::kQuoted) {
        at = escape < 0 ? data.find(static_cast<char>(quote), at) : find_either(data, at);
        if (at == std::string_view::npos) break;
        state_ = static_cast<unsigned char>(data[at]) == quote ? State::kQuote : State::kEscaped;
      } else if (state_ == State::kEscaped) {
        state_ = State::kQuoted;
      } else if (state_ == State::kTaken) {
        state_ = State::kLetters;
      } else if (c == '\n' || c == '\r') {
        // Of \r\n the second is an empty line.
        if (state_ != State::kRow) ends.push_back(first + static_cast<int64_t>(at) + 1);
        begin_row();
      } else if (c == separator) {
        state_ = State::kField;
        ++separators_;
      } else if (c == quote && state_ != State::kLetters) {
        // The field's first byte, or the second of a doubled quote.
        if (state_ != State::kQuote) opened = at;
        state_ = State::kQuoted;
      } else if (state_ == State::kQuote && is_unclosed(data.substr(opened, at - opened))) {
        at = data.find_first_of("\r\n", opened);
        ends.push_back(first + static_cast<int64_t>(at) + 1);
        broken.push_back(ends.back());
        begin_row();
      } else {
        state_ = quote < 0 && c == escape ? State::kTaken : State::kLetters;
      }
    }
    before_ = first + static_cast<int64_t>(data.size());
    const bool in_quotes = state_ == State::kQuoted || state_ == State::kQuote || state_ == State::kEscaped;
    if (fields_ > 0 && in_quotes) held_.assign(data.substr(opened));
  }

  size_t find_either(std::string_view data, size_t at) const {
    const char either[] = {static_cast<char>(signs_.quote), static_cast<char>(signs_.escape)};
    return data.find_first_of(std::string_view(either, 2), at);
  }

  // Whether what is quoted, behind whose last quote a letter comes, holds a row: then its first quote is one that
  // nobody closed, and the last one opens another field.
  bool is_unclosed(std::string_view quoted) const {
    if (fields_ <= 0) return false;
    int64_t separators = separators_;
    for (const char c : quoted) {
      if (c == '\n' || c == '\r') {
        if (separators + 1 == fields_) return true;
        separators = 0;
      } else if (static_cast<unsigned char>(c) == signs_.separator) {
        ++separators;
      }
    }
    return false;
  }

  bool quoted_;
  Signs signs_;
  int64_t fields_;
  State state_ = State::kRow;
  int64_t before_ = 0;      // bytes taken
  int64_t separators_ = 0;  // of the row, so far
  std::string held_;        // from the open quote on, where there is one
};

// Whole rows of CSV with their quotes doubled, and no escapes: in front of a quote or of another one, an escape makes
// a letter of it; in front of anything else it is a letter itself.
inline std::string without_escapes(std::string_view rows, Signs signs) {
  enum class State { kField, kLetters, kQuoted, kAdded };  // kAdded: quotes that the field did not have
  const char separator = static_cast<char>(signs.separator), quote = static_cast<char>(signs.quote),
             escape = static_cast<char>(signs.escape);
  State state = State::kField;
  std::string plain;
  plain.reserve(rows.size() + rows.size() / 16);
  for (size_t at = 0; at < rows.size(); ++at) {
    const char c = rows[at];
    const char next = at + 1 < rows.size() ? rows[at + 1] : '\0';
    const bool is_end = c == '\n' || c == '\r' || c == separator;
    if (c == escape && (next == quote || next == escape)) {
      if (state == State::kField) {
        plain += quote;
        state = State::kAdded;
      }
      if (next == quote && state != State::kLetters) plain += quote;
      plain += next;
      ++at;
    } else if (state == State::kQuoted) {
      plain += c;
      if (c == quote && next == quote) {
        plain += quote;
        ++at;
      } else if (c == quote) {
        state = State::kLetters;
      }
    } else if (is_end) {
      if (state == State::kAdded) plain += quote;
      plain += c;
      state = State::kField;
    } else {
      plain += c;
      if (state == State::kField)
        state = c == quote ? State::kQuoted : State::kLetters;
      else if (state == State::kAdded && c == quote)
        plain += quote;
    }
  }
  if (state == State::kAdded) plain += quote;
  return plain;
}

}  // namespace rnnfast::text
