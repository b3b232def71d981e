// What libFuzzer calls: csrc/text with any bytes. Texts are split as by a plain twin here, code point by code point;
// rows of CSV end where they do when the file comes in two parts; counts that are written and merged are the counts;
// and a file that is no run is refused. The sanitizers watch for the rest.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "text/code_points.h"
#include "text/counts.h"
#include "text/pairs.h"
#include "text/rows.h"
#include "text/splitter.h"
#include "text/strings.h"
#include "text/vectorize.h"

using namespace rnnfast::text;

namespace {

uint64_t inputs = 0, split_texts = 0, refused_texts = 0, row_files = 0, run_files = 0, refused_runs = 0;

struct Figures {
  ~Figures() {
    std::printf("%llu inputs: %llu texts split, %llu refused; %llu files of rows; %llu files of runs, %llu refused\n",
                (unsigned long long)inputs, (unsigned long long)split_texts, (unsigned long long)refused_texts,
                (unsigned long long)row_files, (unsigned long long)run_files, (unsigned long long)refused_runs);
  }
} figures;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::abort();
}

struct MemoryFile {
  int descriptor = memfd_create("run", 0);
  ~MemoryFile() { close(descriptor); }
};

using Texts = std::vector<std::string>;

// The words by the rule, without any step of eight bytes.
Texts plain_words(const std::string& text, bool by_characters) {
  Texts words;
  std::string word;
  bool is_character = false;
  auto end_word = [&] {
    if (!word.empty()) words.push_back(word);
    word.clear();
    is_character = false;
  };
  auto add = [&](char32_t code) {
    char bytes[8];
    word.append(bytes, encode(code, bytes));
  };
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '<') {
      const size_t begin = at + 1;
      auto spaces = [&](size_t i) { return std::min(text.find_first_not_of(" \t\r\n", i), text.size()); };
      end_word();
      at = begin;
      if (text.size() - begin < 2 || (text[begin] | 0x20) != 'b' || (text[begin + 1] | 0x20) != 'r') continue;
      size_t behind = spaces(begin + 2);
      if (behind < text.size() && text[behind] == '/') behind = spaces(behind + 1);
      if (behind < text.size() && text[behind] == '>') at = behind + 1;
      continue;
    }
    const auto* p = reinterpret_cast<const unsigned char*>(text.data()) + at;
    const auto* const start = p;
    const char32_t code = *p < 0x80 ? *p++ : decode(p);
    at += static_cast<size_t>(p - start);
    const Kind kind = kRules.kind(code);
    if (kind == Kind::kWord) {
      if (by_characters && is_character) end_word();
      add(kRules.target(code));
    } else if (kind == Kind::kCharacter) {
      if (by_characters) end_word();
      is_character = by_characters;
      add(code);
    } else if (kind == Kind::kMark) {
      add(kRules.target(code));
    } else if (kind == Kind::kBreak) {
      end_word();
    } else if (kind == Kind::kSign) {
      end_word();
      add(kRules.target(code));
      end_word();
    }
  }
  end_word();
  return words;
}

std::map<std::string, uint64_t> counted(const Texts& texts, bool by_characters) {
  std::map<std::string, uint64_t> sums;
  for (const std::string& text : texts)
    for (const std::string& word : plain_words(text, by_characters)) ++sums[word];
  return sums;
}

void check_texts(const Texts& texts, bool by_characters, bool all) {
  std::string data;
  std::vector<int32_t> offsets{0};
  for (const std::string& text : texts) {
    data += text;
    offsets.push_back(static_cast<int32_t>(data.size()));
  }
  const std::string_view bytes(reinterpret_cast<const char*>(offsets.data()), offsets.size() * sizeof offsets[0]);
  const Strings strings({data, bytes, {}, sizeof offsets[0], 0, static_cast<int64_t>(texts.size())}, 0);
  Words words;
  Splitter splitter;
  for (const std::string& text : texts) {
    Texts found;
    splitter.split(text, by_characters, [&](const Word* some, size_t count) {
      uint32_t numbers[kWordsAtATime];
      words.insert(some, count, numbers);
      for (size_t i = 0; i < count; ++i) {
        found.emplace_back(some[i].data, some[i].size);
        require(words[numbers[i]] == found.back(), "the number of a word");
      }
      return true;
    });
    require(found == plain_words(text, by_characters), "the words of a text");
  }
  if (!all) return;
  constexpr int64_t kLength = 7;
  std::vector<int32_t> ids(texts.size() * kLength, -1);
  std::vector<int64_t> lengths(texts.size()), starts(texts.size());
  vectorize(strings, words, Rows<int32_t>{ids.data(), lengths.data(), kLength, false, by_characters}, 1);
  for (size_t i = 0; i < texts.size(); ++i) {
    require(lengths[i] >= 1 && lengths[i] <= kLength, "a length");
    starts[i] = static_cast<int64_t>(i) * kLength;
  }
  const int64_t size = static_cast<int64_t>(words.size()) + 2;  // of which 0 and 1 are no words
  const IdTexts<int32_t> id_texts{ids.data(), starts.data(), lengths.data(), static_cast<int64_t>(texts.size())};
  const auto keys = frequent_pairs(id_texts, size, 5);
  const Features features = Pairs(keys.data(), static_cast<int64_t>(keys.size()), size).find(id_texts, 1);
  for (const int32_t column : features.columns)
    require(column >= 0 && column < size + static_cast<int64_t>(keys.size()), "a feature");

  Counts counts(3, by_characters);
  std::vector<MemoryFile> files(texts.size() + 2);
  std::vector<RunFile> runs;
  for (int64_t next = 0; next < strings.size();) {
    next = counts.add(strings, next);
    runs.push_back({files[runs.size()].descriptor, "run"});
    counts.write(runs.back().descriptor);
  }
  merge(runs, files.back().descriptor);
  const auto sums = counted(texts, by_characters);
  const auto most = most_frequent({{files.back().descriptor, "merged"}}, sums.size() + 1);
  require(most.size() == sums.size(), "how many words are counted");
  for (const auto& [word, count] : most) require(sums.count(word) && sums.at(word) == count, "a count");
}

void check_run(const std::string& content) {
  ++run_files;
  const MemoryFile file, merged;
  require(write(file.descriptor, content.data(), content.size()) == static_cast<ssize_t>(content.size()), "a write");
  try {
    most_frequent({{file.descriptor, "run"}}, 4);
    merge({{file.descriptor, "run"}, {file.descriptor, "again"}}, merged.descriptor);
  } catch (const std::invalid_argument&) {
    ++refused_runs;
  }
}

void check_rows(const std::string& content, Signs signs, int64_t fields, size_t cut) {
  ++row_files;
  auto ends_of = [&](bool in_parts, std::vector<int64_t>& broken) {
    std::vector<int64_t> ends;
    RowEnds rows(true, signs, fields);
    const std::string_view all = content;
    if (in_parts) rows.scan(all.substr(0, cut), ends, broken);
    rows.scan(in_parts ? all.substr(cut) : all, ends, broken);
    rows.finish(ends, broken);
    return ends;
  };
  std::vector<int64_t> broken, broken_in_parts;
  const auto ends = ends_of(false, broken);
  require(ends == ends_of(true, broken_in_parts) && broken == broken_in_parts, "where rows end");
  int64_t before = 0;
  for (const int64_t end : ends) {
    require(end > before && end <= static_cast<int64_t>(content.size()), "the order of the rows");
    before = end;
  }
  if (signs.escape >= 0) without_escapes(content, signs);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  ++inputs;
  const std::string content(reinterpret_cast<const char*>(data) + 4, size - 4);
  const bool by_characters = data[0] & 1;
  Texts texts(1);
  for (const char c : content) c == '\x1e' ? texts.emplace_back().size() : texts.back().append(1, c).size();
  if (texts.size() > 40) texts.resize(40);
  // What takes most of the time, files and tables, is done with few of the inputs.
  try {
    check_texts(texts, by_characters, data[3] % 32 == 0);
    split_texts += texts.size();
  } catch (const std::invalid_argument&) {
    refused_texts += texts.size();
  }
  if (data[3] % 32 == 1) check_run(content);
  const Signs signs{data[0] & 2 ? ',' : ';', data[0] & 4 ? -1 : '"', data[0] & 8 ? '\\' : -1};
  check_rows(content, signs, data[1] % 5, data[2] % (content.size() + 1));
  return 0;
}
