#include "text/counts.h"

#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <queue>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "text/splitter.h"

namespace rnnfast::text {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

// A file of its own over somebody else's descriptor.
class File {
 public:
  File(int descriptor, const char* mode) {
    const int own = dup(descriptor);
    if (own < 0) fail("cannot use the file of a run");
    file_.reset(fdopen(own, mode));
    if (!file_) {
      close(own);
      fail("cannot use the file of a run");
    }
    rewind(file_.get());
  }

  FILE* get() const { return file_.get(); }

 private:
  struct Closer {
    void operator()(FILE* file) const { fclose(file); }
  };
  std::unique_ptr<FILE, Closer> file_;
};

class RunWriter {
 public:
  explicit RunWriter(int descriptor) : file_(descriptor, "wb") {}

  void write(std::string_view word, uint64_t count) {
    put(word, count);
    ++words_;
  }

  void finish() {
    put("", words_);
    if (fflush(file_.get()) != 0) fail("cannot write a run");
  }

 private:
  void put(std::string_view word, uint64_t count) {
    line_.assign(word);
    line_ += '\t';
    line_ += std::to_string(count);
    line_ += '\n';
    if (fwrite(line_.data(), 1, line_.size(), file_.get()) != line_.size()) fail("cannot write a run");
  }

  File file_;
  std::string line_;
  uint64_t words_ = 0;
};

class RunReader {
 public:
  explicit RunReader(const RunFile& run) : file_(run.descriptor, "rb"), name_(run.name) {}
  RunReader(const RunReader&) = delete;
  ~RunReader() { std::free(line_); }

  // Goes to the next word; false where there is none.
  bool next() {
    const std::string_view line = read_line();
    const size_t tab = line.find('\t');
    if (tab == line.npos || line.back() != '\n') refuse("is cut off");
    const char* const end = line.data() + line.size() - 1;
    const auto parsed = std::from_chars(line.data() + tab + 1, end, count_);
    if (parsed.ec != std::errc() || parsed.ptr != end) refuse("has no count");
    const std::string_view next_word = line.substr(0, tab);
    if (next_word.empty()) {
      if (count_ != words_) refuse("must end with the number of words");
      if (!read_line().empty()) refuse("goes on behind its last line");
      return false;
    }
    if (next_word <= word_) refuse("must be sorted");
    word_.assign(next_word);
    ++words_;
    return true;
  }

  const std::string& word() const { return word_; }
  uint64_t count() const { return count_; }

  [[noreturn]] void refuse(const std::string& problem) const {
    throw std::invalid_argument(name_ + " must hold counts of words, it " + problem + " behind word " +
                                std::to_string(words_));
  }

 private:
  std::string_view read_line() {
    errno = 0;
    const ssize_t size = getline(&line_, &capacity_, file_.get());
    if (size < 0 && errno != 0) fail("cannot read a run");
    return {line_, static_cast<size_t>(std::max<ssize_t>(size, 0))};
  }

  File file_;
  std::string name_;
  char* line_ = nullptr;  // getline's
  size_t capacity_ = 0;
  std::string word_;
  uint64_t count_ = 0;
  uint64_t words_ = 0;
};

// Calls on_word(word, sum of its counts) for each word of the runs, in the order of their bytes.
template <class OnWord>
void for_each_sum(const std::vector<RunFile>& runs, OnWord on_word) {
  std::vector<std::unique_ptr<RunReader>> readers;
  auto behind = [](const RunReader* a, const RunReader* b) { return a->word() > b->word(); };
  std::priority_queue<RunReader*, std::vector<RunReader*>, decltype(behind)> queue(behind);
  auto advance = [&](RunReader* reader) {
    if (reader->next()) queue.push(reader);
  };
  for (const RunFile& run : runs) advance(readers.emplace_back(std::make_unique<RunReader>(run)).get());
  while (!queue.empty()) {
    const std::string word = queue.top()->word();
    uint64_t sum = 0;
    while (!queue.empty() && queue.top()->word() == word) {
      RunReader* const reader = queue.top();
      queue.pop();
      if (__builtin_add_overflow(sum, reader->count(), &sum)) reader->refuse("counts further than to 2^64");
      advance(reader);
    }
    on_word(word, sum);
  }
}

}  // namespace

int64_t Counts::add(const Strings& texts, int64_t first) {
  Splitter splitter;
  for (int64_t i = first; i < texts.size(); ++i) {
    if (words_.size() > max_words_ || words_.bytes() > kBytesPerWord * max_words_) return i;
    splitter.split(texts[i], by_characters_, [&](const Word* found, size_t count) {
      uint32_t numbers[kWordsAtATime];
      words_.insert(found, count, numbers);
      counts_.resize(words_.size());
      for (size_t k = 0; k < count; ++k) ++counts_[numbers[k]];
      return true;
    });
  }
  return texts.size();
}

void Counts::write(int descriptor) {
  std::vector<uint32_t> order(words_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return words_[a] < words_[b]; });
  RunWriter writer(descriptor);
  for (const uint32_t number : order) writer.write(words_[number], counts_[number]);
  writer.finish();
  words_ = Words();
  counts_.clear();
}

void merge(const std::vector<RunFile>& runs, int descriptor) {
  RunWriter writer(descriptor);
  for_each_sum(runs, [&](const std::string& word, uint64_t sum) { writer.write(word, sum); });
  writer.finish();
}

std::vector<std::pair<std::string, uint64_t>> most_frequent(const std::vector<RunFile>& runs, size_t size) {
  using Entry = std::pair<std::string, uint64_t>;
  auto before = [](const Entry& a, const Entry& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  std::vector<Entry> kept;  // a heap with the last one in front
  for_each_sum(runs, [&](const std::string& word, uint64_t sum) {
    if (kept.size() == size && (size == 0 || sum <= kept.front().second)) return;  // of equal ones the first stays
    kept.emplace_back(word, sum);
    std::push_heap(kept.begin(), kept.end(), before);
    if (kept.size() <= size) return;
    std::pop_heap(kept.begin(), kept.end(), before);
    kept.pop_back();
  });
  std::sort_heap(kept.begin(), kept.end(), before);
  return kept;
}

}  // namespace rnnfast::text
