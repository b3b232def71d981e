// The module rnnfast._text: buffers to pointers, without the GIL. What the classes and functions do is said in their
// headers; shapes and types are those that rnnfast/text/{vocabulary,word_counts,pairs}.py hand over.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string_view>
#include <system_error>

#include "text/code_points.h"
#include "text/counts.h"
#include "text/pairs.h"
#include "text/rows.h"
#include "text/splitter.h"
#include "text/strings.h"
#include "text/vectorize.h"

namespace py = pybind11;

namespace {

using namespace rnnfast::text;
using WithoutGil = py::call_guard<py::gil_scoped_release>;

std::string_view view(const std::optional<py::buffer_info>& info) {
  if (!info) return {};
  return {static_cast<const char*>(info->ptr), static_cast<size_t>(info->size * info->itemsize)};
}

std::optional<py::buffer_info> request(const std::optional<py::buffer>& buffer) {
  return buffer ? std::optional(buffer->request()) : std::nullopt;
}

// Strings that keep their buffers.
class Column {
 public:
  Column(const py::buffer& data, const py::buffer& offsets, const std::optional<py::buffer>& present,
         int64_t offset_bytes, int64_t skipped, int64_t size, int64_t first_row)
      : data_(request(data)), offsets_(request(offsets)), present_(request(present)) {
    const StringBuffers buffers{view(data_), view(offsets_), view(present_), offset_bytes, skipped, size};
    py::gil_scoped_release without_gil;
    strings_ = std::make_unique<Strings>(buffers, first_row);
  }

  const Strings& strings() const { return *strings_; }

 private:
  std::optional<py::buffer_info> data_, offsets_, present_;
  std::unique_ptr<Strings> strings_;
};

std::unique_ptr<Words> number_words(const Column& column) {
  auto words = std::make_unique<Words>();
  std::string padded;
  uint32_t number;
  for (int64_t i = 0; i < column.strings().size(); ++i) {
    padded.assign(column.strings()[i]).append(8, '\0');
    const Word word{padded.data(), padded.size() - 8};
    words->insert(&word, 1, &number);
  }
  return words;
}

template <class Id>
void vectorize_into(const Column& texts, const Words& words, py::buffer_info& ids, py::buffer_info& lengths,
                    int64_t first_row, bool pad_before, bool by_characters, int64_t threads) {
  const int64_t row_size = ids.shape[1];
  const Rows<Id> rows{static_cast<Id*>(ids.ptr) + first_row * row_size, static_cast<int64_t*>(lengths.ptr) + first_row,
                      row_size, pad_before, by_characters};
  py::gil_scoped_release without_gil;
  vectorize(texts.strings(), words, rows, threads);
}

// What str.translate wants of a code point.
std::optional<std::u32string> translate(uint32_t code) {
  if (code >= kCodePoints) throw py::index_error("code must be below 0x110000, got: " + std::to_string(code));
  const std::u32string target(1, kRules.target(code));
  switch (kRules.kind(code)) {
    case Kind::kWord:
    case Kind::kCharacter:
    case Kind::kMark:
      return target;
    case Kind::kSign:
      return U" " + target + U" ";
    case Kind::kBreak:
      return U" ";
    case Kind::kRemoved:
      break;
  }
  return std::nullopt;
}

const char* kind(uint32_t code) {
  if (code >= kCodePoints) throw py::index_error("code must be below 0x110000, got: " + std::to_string(code));
  constexpr const char* kNames[] = {"word", "sign", "break", "removed", "character", "mark"};
  return kNames[static_cast<size_t>(kRules.kind(code))];
}

// Texts as ids: calls work with them as they are in memory.
template <class Work>
void with_texts(const py::buffer& ids, const py::buffer& starts, const py::buffer& lengths, Work work) {
  const py::buffer_info from = ids.request(), first = starts.request(), size = lengths.request();
  const auto *const begin = static_cast<const int64_t*>(first.ptr), *const count =
                                                                        static_cast<const int64_t*>(size.ptr);
  py::gil_scoped_release without_gil;
  if (from.itemsize == 4) {
    work(IdTexts<int32_t>{static_cast<const int32_t*>(from.ptr), begin, count, size.size});
  } else {
    work(IdTexts<int64_t>{static_cast<const int64_t*>(from.ptr), begin, count, size.size});
  }
}

template <class T>
py::array_t<T> array_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

}  // namespace

PYBIND11_MODULE(_text, module) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const NullText& error) {
      py::set_error(PyExc_TypeError, error.what());
    } catch (const std::system_error& error) {
      py::set_error(PyExc_OSError, py::make_tuple(error.code().value(), error.what()));
    }
  });
  py::class_<Column>(module, "Strings")
      .def(py::init<const py::buffer&, const py::buffer&, const std::optional<py::buffer>&, int64_t, int64_t, int64_t,
                    int64_t>(),
           py::arg("data"), py::arg("offsets"), py::arg("present"), py::arg("offset_bytes"), py::arg("skipped"),
           py::arg("size"), py::arg("first_row"))
      .def("__len__", [](const Column& column) { return column.strings().size(); });
  py::class_<Words>(module, "Words").def(py::init(&number_words), py::arg("words"));
  module.def(
      "vectorize",
      [](const Column& texts, const Words& words, const py::buffer& ids, const py::buffer& lengths, int64_t first_row,
         bool pad_before, bool by_characters, int64_t threads) {
        py::buffer_info to = ids.request(true), counted = lengths.request(true);
        (to.itemsize == 4 ? vectorize_into<int32_t> : vectorize_into<int64_t>)(texts, words, to, counted, first_row,
                                                                               pad_before, by_characters, threads);
      },
      py::arg("texts"), py::arg("words"), py::arg("ids"), py::arg("lengths"), py::arg("first_row"),
      py::arg("pad_before"), py::arg("by_characters"), py::arg("threads"));
  py::class_<Counts>(module, "Counts")
      .def(py::init<size_t, bool>(), py::arg("max_words"), py::arg("by_characters") = false)
      .def("__len__", &Counts::size)
      .def(
          "add", [](Counts& counts, const Column& texts, int64_t first) { return counts.add(texts.strings(), first); },
          py::arg("texts"), py::arg("first"), WithoutGil())
      .def("write", &Counts::write, py::arg("descriptor"), WithoutGil());
  py::class_<RunFile>(module, "RunFile").def(py::init<int, std::string>(), py::arg("descriptor"), py::arg("name"));
  module.def("merge", &merge, py::arg("runs"), py::arg("descriptor"), WithoutGil());
  module.def("most_frequent", &most_frequent, py::arg("runs"), py::arg("size"), WithoutGil());
  py::class_<Pairs>(module, "Pairs")
      .def(py::init([](const py::buffer& keys, int64_t words) {
             const py::buffer_info from = keys.request();
             return Pairs(static_cast<const int64_t*>(from.ptr), from.size, words);
           }),
           py::arg("keys"), py::arg("words"))
      .def(
          "find",
          [](const Pairs& pairs, const py::buffer& ids, const py::buffer& starts, const py::buffer& lengths,
             int64_t threads) {
            Features found;
            with_texts(ids, starts, lengths, [&](const auto& texts) { found = pairs.find(texts, threads); });
            return py::make_tuple(array_of(found.offsets), array_of(found.columns), array_of(found.values));
          },
          py::arg("ids"), py::arg("starts"), py::arg("lengths"), py::arg("threads"))
      .def(
          "sum",
          [](const Pairs& pairs, const py::buffer& ids, const py::buffer& starts, const py::buffer& lengths,
             const py::buffer& weights, bool by_counts, const py::buffer& result, int64_t threads) {
            const py::buffer_info from = weights.request();
            py::buffer_info to = result.request(true);
            with_texts(ids, starts, lengths, [&](const auto& texts) {
              pairs.sum(texts, static_cast<const float*>(from.ptr), from.shape[1] - 1, by_counts,
                        static_cast<float*>(to.ptr), threads);
            });
          },
          py::arg("ids"), py::arg("starts"), py::arg("lengths"), py::arg("weights"), py::arg("by_counts"),
          py::arg("result"), py::arg("threads"));
  module.def(
      "frequent_pairs",
      [](const py::buffer& ids, const py::buffer& starts, const py::buffer& lengths, int64_t words, int64_t most) {
        std::vector<int64_t> keys;
        with_texts(ids, starts, lengths, [&](const auto& texts) { keys = frequent_pairs(texts, words, most); });
        return array_of(keys);
      },
      py::arg("ids"), py::arg("starts"), py::arg("lengths"), py::arg("words"), py::arg("most"));
  py::class_<RowEnds>(module, "RowEnds")
      .def(py::init([](bool quoted, int separator, int quote, int escape, int64_t fields) {
             return RowEnds(quoted, {separator, quote, escape}, fields);
           }),
           py::arg("quoted"), py::arg("separator") = int{','}, py::arg("quote") = int{'"'}, py::arg("escape") = -1,
           py::arg("fields") = 0)
      .def(
          "scan",
          [](RowEnds& rows, const py::buffer& data) {
            const std::optional<py::buffer_info> bytes = data.request();
            std::vector<int64_t> ends, broken;
            {
              py::gil_scoped_release without_gil;
              rows.scan(view(bytes), ends, broken);
            }
            return py::make_tuple(array_of(ends), array_of(broken));
          },
          py::arg("data"))
      .def("finish",
           [](RowEnds& rows) {
             std::vector<int64_t> ends, broken;
             rows.finish(ends, broken);
             return py::make_tuple(array_of(ends), array_of(broken));
           })
      .def_property_readonly("open", &RowEnds::open);
  module.def(
      "without_escapes",
      [](const py::buffer& rows, int separator, int quote, int escape) {
        const std::optional<py::buffer_info> bytes = rows.request();
        return py::bytes(without_escapes(view(bytes), {separator, quote, escape}));
      },
      py::arg("rows"), py::arg("separator"), py::arg("quote"), py::arg("escape"));
  module.def("translate", &translate, py::arg("code"));
  module.def("kind", &kind, py::arg("code"));
}
