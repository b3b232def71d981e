// Texts to token ids.
#pragma once

#include <cstdint>

#include "text/strings.h"
#include "text/words.h"

namespace rnnfast::text {

// N texts, L ids a row. Id 0 is an unknown word, id 1 the padding.
template <class Id>
struct Rows {
  Id* ids;             // [N,L]
  int64_t* lengths;    // [N], the ids of each row that are no padding, from 1 to L
  int64_t row_size;    // L, at least 1
  bool pad_before;     // where the padding of a short row is: before its words, else after
  bool by_characters;  // how texts are split; see Splitter
};

// Writes the rows of all texts, whose words' ids are the numbers in `words`. The result is the same for any number of
// threads, which is at least 1. Instantiated for int32_t and int64_t.
template <class Id>
void vectorize(const Strings& texts, const Words& words, const Rows<Id>& rows, int64_t threads);

}  // namespace rnnfast::text
