// Splits a text into its standardized words by the rule of rnnfast/text/vocabulary.py. ASCII goes eight bytes at a
// time, in plain 64-bit arithmetic that any machine has; the words are those of the code points one by one.
#pragma once

#include <cstring>
#include <string_view>
#include <vector>

#include "text/code_points.h"
#include "text/words.h"

namespace rnnfast::text {

class Splitter {
 public:
  // Calls on_words(const Word*, count) for the words in order, kWordsAtATime each time and at the end the rest, until
  // it gives false. `text` is UTF-8. By characters, one of a script without spaces is a word, with the marks behind it.
  template <class OnWords>
  void split(std::string_view text, bool by_characters, OnWords on_words) {
    by_characters ? split_by<true>(text, on_words) : split_by<false>(text, on_words);
  }

 private:
  static constexpr size_t kStep = 8;
  static constexpr uint64_t kOnes = 0x0101010101010101;
  static constexpr uint64_t kHigh = 0x80 * kOnes;

  template <bool kByCharacters, class OnWords>
  void split_by(std::string_view text, OnWords& on_words) {
    const auto* p = reinterpret_cast<const unsigned char*>(text.data());
    const auto* const end = p + text.size();
    // A lower case has at most 3 bytes where the upper case has 2. Behind each word are zeros, behind the last one goes
    // a step.
    const size_t needed = 2 * text.size() + kStep * (kWordsAtATime + 1);
    if (bytes_.size() < needed) bytes_.resize(needed);
    Word words[kWordsAtATime];
    size_t count = 0;
    char* word = bytes_.data();  // the present one
    char* to = word;
    bool is_character = false;  // whether the present word is one of a script without spaces
    auto end_word = [&] {
      is_character = false;
      if (to == word) return true;
      std::memset(to, 0, kStep);
      words[count++] = {word, static_cast<size_t>(to - word)};
      word = to = to + kStep;
      if (count < kWordsAtATime) return true;
      const bool more = on_words(words, count);
      count = 0;
      word = to = bytes_.data();
      return more;
    };
    for (;;) {
      // 1. Letters and digits, in lower case.
      const uint64_t bytes = load(p, end);
      const Ascii found = classify(bytes);
      const uint64_t lower = in_order(bytes | found.upper_bits);
      const size_t run = leading(found.alphanumeric);
      if (kByCharacters && is_character && run > 0 && !end_word()) return;
      std::memcpy(to, &lower, kStep);
      to += run;
      p += run;
      if (run == kStep) continue;
      if (p == end) break;
      // 2. What follows them, one code point.
      const unsigned char* const start = p;
      const char32_t code = *p < 0x80 ? *p++ : decode(p);
      switch (kRules.kind(code)) {
        case Kind::kWord:
          if (kByCharacters && is_character && !end_word()) return;
          to = encode(kRules.target(code), to);
          break;
        case Kind::kCharacter:
          if (kByCharacters) {
            if (!end_word()) return;
            is_character = true;
          }
          to = encode(code, to);
          break;
        case Kind::kMark:
          to = encode(kRules.target(code), to);
          break;
        case Kind::kRemoved:
          break;
        case Kind::kBreak:
          if (!end_word()) return;
          if (code == '<') p = behind_line_break(start, end);
          break;
        case Kind::kSign:
          if (!end_word()) return;
          to = encode(kRules.target(code), to);
          if (!end_word()) return;
          break;
      }
    }
    if (end_word() && count > 0) on_words(words, count);
  }

  struct Ascii {
    uint64_t alphanumeric;  // 0x80 in the bytes that are ASCII letters or digits
    uint64_t upper_bits;    // 0x20 in the bytes that are ASCII letters
  };

  static constexpr bool kBigEndian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

  // Of eight bytes, between the order of the memory and that in which the first byte is the lowest.
  static uint64_t in_order(uint64_t bytes) { return kBigEndian ? __builtin_bswap64(bytes) : bytes; }

  // The next eight bytes, the first one lowest; zeros, which are breaks, behind the end.
  static uint64_t load(const unsigned char* p, const unsigned char* end) {
    uint64_t bytes = 0;
    if (end - p >= static_cast<ptrdiff_t>(kStep)) {
      std::memcpy(&bytes, p, kStep);
    } else if (p != end) {
      std::memcpy(&bytes, p, static_cast<size_t>(end - p));
    }
    return in_order(bytes);
  }

  static Ascii classify(uint64_t bytes) {
    const uint64_t low = bytes & ~kHigh;  // so that no sum carries into the next byte
    const uint64_t cased = low | 0x20 * kOnes;
    auto at_least = [](uint64_t values, uint64_t bound) { return values + (0x80 - bound) * kOnes; };
    const uint64_t letters = at_least(cased, 'a') & ~at_least(cased, 'z' + 1) & ~bytes & kHigh;
    const uint64_t digits = at_least(low, '0') & ~at_least(low, '9' + 1) & ~bytes & kHigh;
    return {letters | digits, letters >> 2};
  }

  // How many of the first bytes have their high bit.
  static size_t leading(uint64_t high_bits) {
    const uint64_t rest = high_bits ^ kHigh;
    return rest == 0 ? kStep : static_cast<size_t>(__builtin_ctzll(rest)) / 8;
  }

  // The place behind a <br>, <br/> or <br /> that starts at `p`, or, where there is none, behind the `<`.
  static const unsigned char* behind_line_break(const unsigned char* p, const unsigned char* end) {
    const unsigned char* const behind = ++p;
    auto skip_spaces = [&] {
      while (p != end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) ++p;
    };
    if (end - p < 3 || (p[0] | 0x20) != 'b' || (p[1] | 0x20) != 'r') return behind;
    p += 2;
    skip_spaces();
    if (p != end && *p == '/') {
      ++p;
      skip_spaces();
    }
    return p != end && *p == '>' ? p + 1 : behind;
  }

  std::vector<char> bytes_;  // of the words that on_words has not had yet
};

}  // namespace rnnfast::text
