// The words and the known pairs of neighbouring words that texts hold: the features of a linear model.
#pragma once

#include <cstdint>
#include <vector>

namespace rnnfast::text {

// N texts as ids: text i has lengths[i] of them from ids[starts[i]] on. An id is that of a word, from 2 on, or says
// that there is none: 0 for an unknown word, 1 for the padding.
template <class Id>
struct IdTexts {
  const Id* ids;
  const int64_t* starts;   // [N]
  const int64_t* lengths;  // [N]
  int64_t size;            // N
};

// The features of texts, one text after the other, each once: those of text i are columns[offsets[i]] to
// columns[offsets[i + 1]], in the order in which they first occur. A value is 1 + ln(n) of a feature that is there n
// times.
struct Features {
  std::vector<int64_t> offsets;  // [N + 1]
  std::vector<int32_t> columns;
  std::vector<float> values;
};

class Pairs {
 public:
  // Takes the keys of P pairs, all different: that of words a, b is a * V + b. Feature w < V is word w, feature V + p
  // pair p. V + P is below 2^31.
  Pairs(const int64_t* keys, int64_t count, int64_t words);

  int64_t words() const { return words_; }
  int64_t features() const { return words_ + static_cast<int64_t>(keys_.size()); }

  // Instantiated for int32_t and int64_t, as is all that follows. Ids are from 0 to V - 1.
  template <class Id>
  Features find(const IdTexts<Id>& texts, int64_t threads) const;

  // Of each text sum(w_k(f) * v) / sqrt(sum(s(f) * v^2)) over its features f, 0 where it has none, to result [N,K].
  // v is the feature's value by_counts, else 1. weights is [V + P, 1 + K]: s, then w_0 to w_(K-1). A text's result is
  // the same whatever others there are.
  template <class Id>
  void sum(const IdTexts<Id>& texts, const float* weights, int64_t outputs, bool by_counts, float* result,
           int64_t threads) const;

 private:
  // The number of a pair, and of its key's hash the half that did not choose the place.
  struct Slot {
    uint32_t mark;
    int32_t number;
  };

  // Calls found(feature) for each word and known pair of a text, in its order, as often as they are there.
  template <class Id, class Found>
  void for_each(const Id* ids, int64_t length, Found found) const;

  std::vector<int64_t> keys_;
  std::vector<Slot> slots_;  // a power of two, at most half of them taken
  int64_t words_;
};

// The keys of the most frequent pairs of neighbours that are both words, at most `most`, in rising order; of pairs that
// are as frequent the lower key first.
template <class Id>
std::vector<int64_t> frequent_pairs(const IdTexts<Id>& texts, int64_t words, int64_t most);

}  // namespace rnnfast::text
