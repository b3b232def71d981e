#include "text/pairs.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <future>
#include <utility>

namespace rnnfast::text {
namespace {

constexpr int64_t kFirstWord = 2;
constexpr int32_t kNone = -1;

// Pairs are looked up together, so that one waits for the memory while the next one is on its way.
constexpr int64_t kAtATime = 32;

uint64_t hash(int64_t key) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio
  const uint64_t mixed = static_cast<uint64_t>(key) * kOdd;
  return (mixed ^ mixed >> 29) * kOdd;
}

uint32_t mark_of(uint64_t hash) { return static_cast<uint32_t>(hash); }
size_t place_of(uint64_t hash) { return static_cast<size_t>(hash >> 32); }

size_t table_size(size_t entries) {
  size_t size = 16;
  while (size < 2 * entries) size *= 2;
  return size;
}

template <class Id>
int64_t key_of(const Id* ids, int64_t words) {
  return static_cast<int64_t>(ids[0]) * words + ids[1];
}

template <class Id>
bool is_pair(const Id* ids) {
  return ids[0] >= kFirstWord && ids[1] >= kFirstWord;
}

// Calls work(first, last) for shares of the texts, each in a thread of its own.
template <class Work>
void in_shares(int64_t size, int64_t threads, Work work) {
  std::vector<std::future<void>> others;  // each is waited for, whatever happens
  const int64_t shares = std::max<int64_t>(1, std::min(threads, size));
  for (int64_t share = 1; share < shares; ++share)
    others.push_back(std::async(std::launch::async, work, size * (share - 1) / shares, size * share / shares));
  work(size * (shares - 1) / shares, size);
  for (std::future<void>& other : others) other.get();
}

// Which features the present one of some texts holds.
class Held {
 public:
  explicit Held(int64_t features) : last_text_(features) {}

  void next_text() { ++text_; }

  // Whether the feature is met for the first time in this text.
  bool is_new(int64_t feature) {
    if (last_text_[feature] == text_) return false;
    last_text_[feature] = text_;
    return true;
  }

 private:
  std::vector<uint32_t> last_text_;  // of each feature; texts are counted from 1
  uint32_t text_ = 0;
};

// The features of one text after the other, and how often each is there.
class Counted {
 public:
  struct Feature {
    int32_t number;
    int32_t count;
  };

  explicit Counted(int64_t features) : held_(features), places_(features) {}

  void next_text() {
    held_.next_text();
    features_.clear();
  }

  void add(int64_t feature) {
    if (held_.is_new(feature)) {
      places_[feature] = static_cast<int32_t>(features_.size());
      features_.push_back({static_cast<int32_t>(feature), 0});
    }
    ++features_[places_[feature]].count;
  }

  // In the order in which they first occur.
  const std::vector<Feature>& features() const { return features_; }

 private:
  Held held_;
  std::vector<int32_t> places_;  // of each feature that this text holds, among these
  std::vector<Feature> features_;
};

double value_of(int32_t count) { return count == 1 ? 1.0 : 1.0 + std::log(static_cast<double>(count)); }

}  // namespace

Pairs::Pairs(const int64_t* keys, int64_t count, int64_t words)
    : keys_(keys, keys + count), slots_(table_size(keys_.size()), Slot{0, kNone}), words_(words) {
  const size_t mask = slots_.size() - 1;
  for (int64_t number = 0; number < count; ++number) {
    const uint64_t hashed = hash(keys[number]);
    size_t at = place_of(hashed) & mask;
    while (slots_[at].number != kNone) at = (at + 1) & mask;
    slots_[at] = {mark_of(hashed), static_cast<int32_t>(number)};
  }
}

template <class Id, class Found>
void Pairs::for_each(const Id* ids, int64_t length, Found found) const {
  const size_t mask = slots_.size() - 1;
  for (int64_t first = 0; first < length; first += kAtATime) {
    const int64_t count = std::min(kAtATime, length - first);
    uint64_t hashes[kAtATime];  // of the pair that begins at each place
    const int64_t pairs = std::min(count, length - 1 - first);
    for (int64_t t = 0; t < pairs; ++t) {
      hashes[t] = hash(key_of(ids + first + t, words_));
      __builtin_prefetch(&slots_[place_of(hashes[t]) & mask]);
    }
    for (int64_t t = 0; t < count; ++t) {
      const Id* const here = ids + first + t;
      if (*here >= kFirstWord) found(*here);
      if (t >= pairs || !is_pair(here)) continue;
      for (size_t at = place_of(hashes[t]) & mask; slots_[at].number != kNone; at = (at + 1) & mask) {
        if (slots_[at].mark != mark_of(hashes[t]) || keys_[slots_[at].number] != key_of(here, words_)) continue;
        found(words_ + slots_[at].number);
        break;
      }
    }
  }
}

template <class Id>
Features Pairs::find(const IdTexts<Id>& texts, int64_t threads) const {
  Features result;
  result.offsets.resize(texts.size + 1);
  std::vector<Features> parts(std::max<int64_t>(1, std::min(threads, texts.size)));
  in_shares(texts.size, threads, [&](int64_t first, int64_t last) {
    // The share whose first text this is.
    size_t part = 0;
    while (texts.size * static_cast<int64_t>(part) / static_cast<int64_t>(parts.size()) != first) ++part;
    Features& own = parts[part];
    Counted counted(features());
    for (int64_t i = first; i < last; ++i) {
      counted.next_text();
      for_each(texts.ids + texts.starts[i], texts.lengths[i], [&](int64_t feature) { counted.add(feature); });
      for (const Counted::Feature& each : counted.features()) {
        own.columns.push_back(each.number);
        own.values.push_back(static_cast<float>(value_of(each.count)));
      }
      result.offsets[i + 1] = static_cast<int64_t>(counted.features().size());
    }
  });
  for (int64_t i = 0; i < texts.size; ++i) result.offsets[i + 1] += result.offsets[i];
  result.columns = std::move(parts.front().columns);
  result.values = std::move(parts.front().values);
  result.columns.reserve(result.offsets.back());
  result.values.reserve(result.offsets.back());
  for (size_t part = 1; part < parts.size(); ++part) {
    result.columns.insert(result.columns.end(), parts[part].columns.begin(), parts[part].columns.end());
    result.values.insert(result.values.end(), parts[part].values.begin(), parts[part].values.end());
  }
  return result;
}

template <class Id>
void Pairs::sum(const IdTexts<Id>& texts, const float* weights, int64_t outputs, bool by_counts, float* result,
                int64_t threads) const {
  in_shares(texts.size, threads, [&](int64_t first, int64_t last) {
    std::vector<double> sums(1 + outputs);
    const auto weight_of = [&](int64_t feature) { return weights + feature * (1 + outputs); };
    // Texts of a share, each of whose sums add_up(text) makes.
    const auto each_text = [&](auto add_up) {
      for (int64_t i = first; i < last; ++i) {
        std::fill(sums.begin(), sums.end(), 0.0);
        add_up(i);
        const double norm = std::sqrt(sums[0]);
        for (int64_t k = 0; k < outputs; ++k)
          result[i * outputs + k] = norm > 0 ? static_cast<float>(sums[k + 1] / norm) : 0.0f;
      }
    };
    if (!by_counts) {
      Held held(features());
      each_text([&](int64_t i) {
        held.next_text();
        for_each(texts.ids + texts.starts[i], texts.lengths[i], [&](int64_t feature) {
          if (!held.is_new(feature)) return;
          const float* const weight = weight_of(feature);
          for (int64_t k = 0; k <= outputs; ++k) sums[k] += weight[k];
        });
      });
      return;
    }
    Counted counted(features());
    each_text([&](int64_t i) {
      counted.next_text();
      for_each(texts.ids + texts.starts[i], texts.lengths[i], [&](int64_t feature) { counted.add(feature); });
      for (const Counted::Feature& each : counted.features()) {
        const double value = value_of(each.count);
        const float* const weight = weight_of(each.number);
        sums[0] += weight[0] * value * value;
        for (int64_t k = 1; k <= outputs; ++k) sums[k] += weight[k] * value;
      }
    });
  });
}

template <class Id>
std::vector<int64_t> frequent_pairs(const IdTexts<Id>& texts, int64_t words, int64_t most) {
  struct Count {
    int64_t key, count;
  };
  std::vector<Count> table(1 << 16);  // a power of two, at most half of them taken; count 0: free
  size_t taken = 0;
  const auto place = [&](int64_t key) {
    const size_t mask = table.size() - 1;
    size_t at = place_of(hash(key)) & mask;
    while (table[at].count && table[at].key != key) at = (at + 1) & mask;
    return at;
  };
  for (int64_t i = 0; i < texts.size; ++i) {
    const Id* const ids = texts.ids + texts.starts[i];
    for (int64_t t = 0; t + 1 < texts.lengths[i]; ++t) {
      if (!is_pair(ids + t)) continue;
      const int64_t key = key_of(ids + t, words);
      Count& found = table[place(key)];
      found.key = key;
      if (found.count++ || 2 * ++taken <= table.size()) continue;
      std::vector<Count> old(2 * table.size());
      old.swap(table);
      for (const Count& each : old)
        if (each.count) table[place(each.key)] = each;
    }
  }
  table.erase(std::remove_if(table.begin(), table.end(), [](const Count& each) { return each.count == 0; }),
              table.end());
  const size_t kept = std::min(table.size(), static_cast<size_t>(most));
  std::nth_element(
      table.begin(), table.begin() + static_cast<ptrdiff_t>(kept), table.end(),
      [](const Count& a, const Count& b) { return a.count != b.count ? a.count > b.count : a.key < b.key; });
  std::vector<int64_t> keys(kept);
  for (size_t k = 0; k < kept; ++k) keys[k] = table[k].key;
  std::sort(keys.begin(), keys.end());
  return keys;
}

template Features Pairs::find(const IdTexts<int32_t>&, int64_t) const;
template Features Pairs::find(const IdTexts<int64_t>&, int64_t) const;
template void Pairs::sum(const IdTexts<int32_t>&, const float*, int64_t, bool, float*, int64_t) const;
template void Pairs::sum(const IdTexts<int64_t>&, const float*, int64_t, bool, float*, int64_t) const;
template std::vector<int64_t> frequent_pairs(const IdTexts<int32_t>&, int64_t, int64_t);
template std::vector<int64_t> frequent_pairs(const IdTexts<int64_t>&, int64_t, int64_t);

}  // namespace rnnfast::text
