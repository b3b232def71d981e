#include "text/vectorize.h"

#include <algorithm>
#include <future>
#include <vector>

#include "text/splitter.h"

namespace rnnfast::text {
namespace {

constexpr uint32_t kUnknown = 0;
constexpr uint32_t kPadding = 1;

template <class Id>
void vectorize_part(const Strings& texts, int64_t first, int64_t last, const Words& words, const Rows<Id>& rows) {
  Splitter splitter;
  for (int64_t i = first; i < last; ++i) {
    Id* const row = rows.ids + i * rows.row_size;
    Id* const end = row + rows.row_size;
    Id* to = row;
    splitter.split(texts[i], rows.by_characters, [&](const Word* found, size_t count) {
      uint32_t numbers[kWordsAtATime];
      count = std::min(count, static_cast<size_t>(end - to));
      words.find(found, count, numbers);
      for (size_t k = 0; k < count; ++k) *to++ = static_cast<Id>(numbers[k] == Words::kNone ? kUnknown : numbers[k]);
      return to != end;
    });
    if (to == row) *to++ = kUnknown;
    rows.lengths[i] = to - row;
    if (rows.pad_before) {
      std::fill(row, std::move_backward(row, to, end), Id{kPadding});
    } else {
      std::fill(to, end, Id{kPadding});
    }
  }
}

}  // namespace

template <class Id>
void vectorize(const Strings& texts, const Words& words, const Rows<Id>& rows, int64_t threads) {
  std::vector<std::future<void>> others;  // each is waited for, whatever happens
  const int64_t shares = std::max<int64_t>(1, std::min(threads, texts.size()));
  int64_t first = 0;
  for (int64_t share = 1; share < shares; ++share) {
    const int64_t last = texts.size() * share / shares;
    others.push_back(
        std::async(std::launch::async, [&, first, last] { vectorize_part(texts, first, last, words, rows); }));
    first = last;
  }
  vectorize_part(texts, first, texts.size(), words, rows);
  for (std::future<void>& other : others) other.get();
}

template void vectorize(const Strings&, const Words&, const Rows<int32_t>&, int64_t);
template void vectorize(const Strings&, const Words&, const Rows<int64_t>&, int64_t);

}  // namespace rnnfast::text
