#include "text/strings.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "text/code_points.h"

namespace rnnfast::text {
namespace {

template <class Value>
Value value_at(std::string_view buffer, int64_t i) {
  Value value;
  std::memcpy(&value, buffer.data() + i * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

[[noreturn]] void refuse(const std::string& rule) { throw std::invalid_argument("texts must " + rule); }

bool is_ascii(std::string_view text) {
  unsigned char any = 0;
  for (const char c : text) any |= static_cast<unsigned char>(c);
  return any < 0x80;
}

// The place of the first byte that is not UTF-8, or the text's size.
size_t first_not_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = utf8_length(bytes + at, text.size() - at);
    if (length == 0) break;
    at += length;
  }
  return at;
}

}  // namespace

Strings::Strings(const StringBuffers& buffers, int64_t first_row) : buffers_(buffers) {
  const int64_t behind = buffers.skipped + buffers.size;
  if (buffers.offset_bytes != 4 && buffers.offset_bytes != 8) {
    refuse("have offsets of 4 or 8 bytes, got: " + std::to_string(buffers.offset_bytes));
  }
  if (buffers.skipped < 0 || buffers.size < 0) {
    refuse("be a slice, got " + std::to_string(buffers.size) + " behind " + std::to_string(buffers.skipped));
  }
  const auto room = static_cast<int64_t>(buffers.offsets.size()) / buffers.offset_bytes;
  if (room <= behind) {
    refuse("have an offset for each and one more, got " + std::to_string(room) + " for " + std::to_string(behind));
  }
  const auto bits = 8 * static_cast<int64_t>(buffers.present.size());
  if (bits != 0 && bits < behind) {
    refuse("have a bit each that says which are null, got " + std::to_string(bits) + " for " + std::to_string(behind));
  }
  check_places(first_row);
  check_nulls(first_row);
  check_utf8(first_row);
}

void Strings::check_places(int64_t first_row) const {
  const auto end = static_cast<int64_t>(buffers_.data.size());
  for (int64_t i = 0; i < size(); ++i) {
    if (0 <= begin(i) && begin(i) <= begin(i + 1) && begin(i + 1) <= end) continue;
    refuse("lie inside their buffer of " + std::to_string(end) + " bytes, row " + std::to_string(first_row + i) +
           " is from " + std::to_string(begin(i)) + " to " + std::to_string(begin(i + 1)));
  }
}

void Strings::check_nulls(int64_t first_row) const {
  if (buffers_.present.empty()) return;
  for (int64_t i = 0; i < size(); ++i) {
    const int64_t bit = buffers_.skipped + i;
    if ((buffers_.present[static_cast<size_t>(bit / 8)] >> bit % 8 & 1) == 0) {
      throw NullText("texts must be strings, got null as row " + std::to_string(first_row + i));
    }
  }
}

void Strings::check_utf8(int64_t first_row) const {
  const int64_t from = begin(0);
  if (is_ascii(buffers_.data.substr(static_cast<size_t>(from), static_cast<size_t>(begin(size()) - from)))) return;
  for (int64_t i = 0; i < size(); ++i) {
    const std::string_view text = (*this)[i];
    if (is_ascii(text)) continue;
    const size_t bad = first_not_utf8(text);
    if (bad != text.size()) {
      refuse("be UTF-8, row " + std::to_string(first_row + i) + " is not from its byte " + std::to_string(bad) + " on");
    }
  }
}

int64_t Strings::begin(int64_t i) const {
  const int64_t at = buffers_.skipped + i;
  return buffers_.offset_bytes == 4 ? value_at<int32_t>(buffers_.offsets, at) : value_at<int64_t>(buffers_.offsets, at);
}

}  // namespace rnnfast::text
