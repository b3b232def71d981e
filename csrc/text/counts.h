// How often each word occurs, exactly, in bounded memory: what a full table holds is written out as a run, a file
// sorted by word, and runs are merged. Sums know no order, so that the counts do not depend on how the texts were
// divided.
//
// A line of a run is a word, a tab and its count, in the order of the words' bytes, which is that of their code points.
// The last line has the number of words in place of a count, and no word. Files are given by descriptors, which stay
// open; they are read from their start.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/strings.h"
#include "text/words.h"

namespace rnnfast::text {

struct RunFile {
  int descriptor;
  std::string name;  // what errors call it
};

class Counts {
 public:
  // The table is full with more than `max_words` distinct words, or more than kBytesPerWord as many bytes in them.
  // by_characters: as the splitter has it.
  Counts(size_t max_words, bool by_characters) : max_words_(max_words), by_characters_(by_characters) {}

  // Counts the words of the texts from number `first` on, and gives the number of the first text that was not counted
  // since the table is full: where it is not, texts.size().
  int64_t add(const Strings& texts, int64_t first);

  size_t size() const { return words_.size(); }

  // Writes the counts as a run, and has none from then on. Throws std::system_error.
  void write(int descriptor);

 private:
  static constexpr size_t kBytesPerWord = 32;

  size_t max_words_;
  bool by_characters_;
  Words words_;
  std::vector<uint64_t> counts_;  // of words_, by number
};

// Merges runs into one. Throws std::system_error, and std::invalid_argument where a file is no run.
void merge(const std::vector<RunFile>& runs, int descriptor);

// The `size` words of the highest sums of counts in all runs, with these sums, highest first; equal ones in the order
// of their bytes. Throws as merge.
std::vector<std::pair<std::string, uint64_t>> most_frequent(const std::vector<RunFile>& runs, size_t size);

}  // namespace rnnfast::text
