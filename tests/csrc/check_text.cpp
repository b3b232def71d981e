// Holds csrc/text against a few texts whose words and ids are written out, without Python: what another compiler or
// another machine may get wrong is the order of bytes, the width of types, and the table.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "text/counts.h"
#include "text/splitter.h"
#include "text/strings.h"
#include "text/vectorize.h"

using namespace rnnfast::text;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::printf("wrong: %s\n", what);
  std::exit(1);
}

std::string words_of(const std::string& text, bool by_characters = false) {
  std::string joined;
  Splitter().split(text, by_characters, [&](const Word* words, size_t count) {
    for (size_t i = 0; i < count; ++i) joined += std::string(words[i].data, words[i].size) + ' ';
    return true;
  });
  return joined;
}

void check_words() {
  const std::pair<const char*, const char*> cases[] = {
      {"", ""},
      {" ?!... ", ""},
      {"Don't miss it!<br />GREAT...but long, 8/10", "dont miss it great but long 8 10 "},
      {"one<Br\n/ >two<br", "one two br "},
      {"@[`{/:AZaz09", "azaz09 "},
      {"\xc4\xb0stanbul \xce\xa3\xcf\x82 \xc8\xba", "istanbul \xcf\x83\xcf\x83 \xe2\xb1\xa5 "},
      {"so\xc2\xad"
       "ft\xf0\x9f\x98\x80\xe2\x80\xa8\xef\xbb\xbf"
       "end",
       "soft \xf0\x9f\x98\x80 end "},
      {"donaudampfschifffahrtsgesellschaft", "donaudampfschifffahrtsgesellschaft "},
  };
  for (const auto& [text, words] : cases) require(words_of(text) == words, text);
  // Han by characters, with Latin before and behind; Thai with its marks.
  require(words_of("\xe5\xa5\xbd\xe7\x9a\x84 film") == "\xe5\xa5\xbd\xe7\x9a\x84 film ", "Han by spaces");
  require(words_of("A1\xe5\xa5\xbd\xe7\x9a\x84Z9", true) == "a1 \xe5\xa5\xbd \xe7\x9a\x84 z9 ", "Han");
  require(words_of("\xe0\xb8\x94\xe0\xb8\xb5\xe0\xb8\x81", true) == "\xe0\xb8\x94\xe0\xb8\xb5 \xe0\xb8\x81 ", "Thai");
  // At each place of the bytes that are read together.
  for (size_t before = 0; before < 17; ++before) {
    const std::string start(before, 'X'), lower(before, 'x');
    require(words_of(start + "\xc3\x89t\xc3\xa9 Yes") == lower + "\xc3\xa9t\xc3\xa9 yes ", "a place");
  }
}

// Texts "w0 w1 ... ", each a word longer than the one before.
struct Corpus {
  std::string data;
  std::vector<int32_t> offsets{0};

  explicit Corpus(int texts) {
    for (int text = 0; text < texts; ++text) {
      for (int word = 0; word <= text; ++word) data += "W" + std::to_string(word) + " ";
      offsets.push_back(static_cast<int32_t>(data.size()));
    }
  }

  Strings strings() const {
    const std::string_view bytes(reinterpret_cast<const char*>(offsets.data()), offsets.size() * sizeof offsets[0]);
    return Strings({data, bytes, {}, sizeof offsets[0], 0, static_cast<int64_t>(offsets.size()) - 1}, 0);
  }
};

template <class Id>
void check_ids() {
  constexpr int kTexts = 100, kLength = 40;
  const Corpus corpus(kTexts);
  Words words;
  for (int i = 0; i < 20; ++i) {
    const std::string padded = "w" + std::to_string(i) + std::string(8, '\0');
    const Word word{padded.data(), padded.size() - 8};
    uint32_t number;
    words.insert(&word, 1, &number);
    require(number == static_cast<uint32_t>(i), "the number of a word");
  }
  for (const int64_t threads : {1, 3, 200}) {
    std::vector<Id> ids(kTexts * kLength, -1);
    std::vector<int64_t> lengths(kTexts, -1);
    vectorize(corpus.strings(), words, Rows<Id>{ids.data(), lengths.data(), kLength, false, false}, threads);
    for (int text = 0; text < kTexts; ++text) {
      require(lengths[text] == std::min(text + 1, kLength), "a length");
      for (int word = 0; word < kLength; ++word) {
        const int expected = word > text ? 1 : word < 20 ? word : 0;
        require(ids[text * kLength + word] == expected, "an id");
      }
    }
  }
}

void check_counts() {
  constexpr int kTexts = 300;
  const Corpus corpus(kTexts);
  const Strings texts = corpus.strings();
  Counts counts(100, false);  // of 300 words
  std::vector<FILE*> files;
  std::vector<RunFile> runs;
  for (int64_t next = 0; next < texts.size();) {
    next = counts.add(texts, next);
    files.push_back(std::tmpfile());
    runs.push_back({fileno(files.back()), "run"});
    counts.write(runs.back().descriptor);
  }
  require(runs.size() > 1, "the table's limit");
  FILE* const merged = std::tmpfile();
  merge(runs, fileno(merged));
  for (const auto& source : {runs, std::vector<RunFile>{{fileno(merged), "merged"}}}) {
    const auto most = most_frequent(source, 250);
    require(most.size() == 250, "how many words are kept");
    for (int i = 0; i < 250; ++i) {
      require(most[i].first == "w" + std::to_string(i), "a frequent word");
      require(most[i].second == static_cast<uint64_t>(kTexts - i), "a count");
    }
  }
  for (FILE* file : files) std::fclose(file);
  std::fclose(merged);
}

}  // namespace

int main() {
  check_words();
  check_ids<int32_t>();
  check_ids<int64_t>();
  check_counts();
  std::puts("right");
}
