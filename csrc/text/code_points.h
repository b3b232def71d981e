// What the rule of rnnfast/text/vocabulary.py makes of each code point, and UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnfast::text {

enum class Kind : uint8_t {
  kWord,       // part of a word, as what it becomes
  kSign,       // a word of its own, as what it becomes
  kBreak,      // parts words
  kRemoved,    // is not there
  kCharacter,  // of a script without spaces: by characters a word of its own, with its marks; else as kWord
  kMark,       // by characters goes with what is before it; else as kWord
};

// Zeros are the most frequent rule, a code point that stands for itself: pages of the table with nothing else take no
// memory.
struct Rule {
  int32_t distance : 24;  // to the code point that it becomes
  uint32_t kind : 8;
};

constexpr char32_t kCodePoints = 0x110000;

class Rules {
 public:
  Rules();
  Kind kind(char32_t code) const { return static_cast<Kind>(rules_[code].kind); }
  char32_t target(char32_t code) const {
    return static_cast<char32_t>(static_cast<int32_t>(code) + rules_[code].distance);
  }

 private:
  Rule rules_[kCodePoints];
};

extern const Rules kRules;

// Bytes of the first code point of `text`, which has `size` > 0 bytes, or 0 where that is not UTF-8. A surrogate in
// three bytes, which a Python string may hold, counts as UTF-8.
inline size_t utf8_length(const unsigned char* text, size_t size) {
  auto follows = [&](size_t at) { return at < size && text[at] >> 6 == 0b10; };
  const unsigned char first = text[0];
  if (first < 0x80) return 1;
  if (first < 0xc2) return 0;
  if (!follows(1)) return 0;
  if (first < 0xe0) return 2;
  if (!follows(2)) return 0;
  if (first < 0xf0) return first == 0xe0 && text[1] < 0xa0 ? 0 : 3;
  if (!follows(3) || first > 0xf4) return 0;
  if (first == 0xf0 && text[1] < 0x90) return 0;
  if (first == 0xf4 && text[1] >= 0x90) return 0;
  return 4;
}

// Reads the code point at `text`, which is UTF-8 and not ASCII, and moves `text` behind it.
inline char32_t decode(const unsigned char*& text) {
  const unsigned char first = *text++;
  const int following = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
  char32_t code = first & (0x3f >> following);
  for (int i = 0; i < following; ++i) code = code << 6 | (*text++ & 0x3f);
  return code;
}

// Writes a code point and gives the place behind it, at most 4 bytes further.
inline char* encode(char32_t code, char* to) {
  if (code < 0x80) {
    *to++ = static_cast<char>(code);
    return to;
  }
  const int following = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  constexpr unsigned char kFirst[] = {0, 0xc0, 0xe0, 0xf0};
  *to++ = static_cast<char>(kFirst[following] | code >> 6 * following);
  for (int i = following - 1; i >= 0; --i) *to++ = static_cast<char>(0x80 | (code >> 6 * i & 0x3f));
  return to;
}

}  // namespace rnnfast::text
