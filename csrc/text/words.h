// Distinct words with the numbers 0, 1, ... in the order in which they came: a hash table with open addressing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

namespace rnnfast::text {

// Bytes of a word, with eight zero bytes behind them.
struct Word {
  const char* data;
  size_t size;
};

// Words are looked up together, so that one waits for the memory while the next one is on its way.
constexpr size_t kWordsAtATime = 32;

class Words {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // Writes the number of each of up to kWordsAtATime words, or kNone.
  void find(const Word* words, size_t count, uint32_t* numbers) const {
    Key keys[kWordsAtATime];
    fetch(words, count, keys);
    for (size_t i = 0; i < count; ++i) numbers[i] = slots_[place(keys[i], words[i])].number;
  }

  // Writes the number of each of up to kWordsAtATime words, a new one where a word was not known.
  void insert(const Word* words, size_t count, uint32_t* numbers) {
    Key keys[kWordsAtATime];
    fetch(words, count, keys);
    for (size_t i = 0; i < count; ++i) numbers[i] = insert(keys[i], words[i]);
  }

  size_t size() const { return starts_.size() - 1; }
  size_t bytes() const { return bytes_.size(); }

  std::string_view operator[](uint32_t number) const {
    return {bytes_.data() + starts_[number], starts_[number + 1] - starts_[number]};
  }

 private:
  // Settles a word of up to eight bytes, which most are, without another look at the memory.
  struct Slot {
    uint64_t head = 0;  // its first eight bytes, zeros behind a shorter word
    uint32_t size = 0;  // in bytes, or the largest number that fits
    uint32_t number = kNone;
  };

  struct Key {
    Slot slot;  // without its number
    uint32_t hash;
  };

  static constexpr size_t kHead = 8;

  static Key key(Word word) {
    constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio
    Slot slot;
    slot.head = load(word.data);
    slot.size = static_cast<uint32_t>(std::min<size_t>(word.size, std::numeric_limits<uint32_t>::max()));
    uint64_t mixed = slot.head * kOdd;
    for (size_t i = kHead; i < word.size; i += kHead) mixed = ((mixed ^ mixed >> 32) + load(word.data + i)) * kOdd;
    return {slot, static_cast<uint32_t>(mixed ^ mixed >> 32)};
  }

  // Makes the keys, and has the memory look for all the slots at once.
  void fetch(const Word* words, size_t count, Key* keys) const {
    for (size_t i = 0; i < count; ++i) {
      keys[i] = key(words[i]);
      __builtin_prefetch(&slots_[keys[i].hash & (slots_.size() - 1)]);
    }
  }

  uint32_t insert(const Key& key, Word word) {
    Slot& slot = slots_[place(key, word)];
    if (slot.number != kNone) return slot.number;
    slot = key.slot;
    const uint32_t number = slot.number = static_cast<uint32_t>(size());
    hashes_.push_back(key.hash);
    bytes_.insert(bytes_.end(), word.data, word.data + word.size);
    starts_.push_back(bytes_.size());
    if (2 * size() > slots_.size()) grow();
    return number;
  }

  static uint64_t load(const char* data) {
    uint64_t bytes;
    std::memcpy(&bytes, data, sizeof bytes);
    return bytes;
  }

  // Where a word is, or where it would be.
  size_t place(const Key& key, Word word) const {
    const size_t mask = slots_.size() - 1;
    for (size_t at = key.hash & mask;; at = (at + 1) & mask) {
      const Slot& slot = slots_[at];
      if (slot.number == kNone) return at;
      if (slot.head != key.slot.head || slot.size != key.slot.size) continue;
      if (word.size <= kHead || (*this)[slot.number] == std::string_view(word.data, word.size)) return at;
    }
  }

  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    const size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.number == kNone) continue;
      size_t at = hashes_[slot.number] & mask;
      while (slots_[at].number != kNone) at = (at + 1) & mask;
      slots_[at] = slot;
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(1024);  // a power of two, at most half of them taken
  std::vector<uint32_t> hashes_;                       // of each word
  std::vector<uint64_t> starts_{0};                    // of each word in bytes_, and the end
  std::vector<char> bytes_;                            // of all words, one after the other
};

}  // namespace rnnfast::text
