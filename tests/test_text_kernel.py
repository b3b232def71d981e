"""The kernel of texts beside its plain Python twin, `rnnfast.text.reference`; and how it takes bad input."""

import copy
import pickle
import random
import runpy
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from rnnfast import _text
from rnnfast.text import reference
from rnnfast.text.vocabulary import Vocabulary, standardize, vectorize
from rnnfast.text.word_counts import WordCounts

TABLE = Path(__file__).parent.parent / "csrc" / "text" / "code_points"
WORDS = ["[UNK]", "pad", "a", "film", "not", "good", "extraordinarily", "\u03bf\u03c3", "i"]

# Separators, signs and letters with a rule of their own, and what is near to a break of lines.
PIECES = [
    *("<br/>", "<BR />", "<br>", "<Br\n/\t>", "<br", "<br /", "<brx>", "<", "<<br>>", "br>"),
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\x00",
        "\x1c",
        "\x7f",
        "\x85",
        "\u00a0",
        "\u2003",
        "\u2028",
        "\u3000",
    ),
    *("'", "`", "\u2019", "\u02bc", "\u00ad", "\u200d", "\ufeff", "\ufe0f", "!", "...", "-", "_"),
    *(
        "\u0130",
        "\u0131",
        "I\u0307",
        "\u03a3",
        "\u03c2",
        "\u039f\u03a3",
        "\u00df",
        "\u1e9e",
        "\u023a",
    ),
    *(
        "\u0301",
        "\u0e20\u0e32",
        "\u4f60\u597d",
        "\u0646\u0639\u0645",
        "\U0001f600",
        "\u24b6",
        "\u00a9",
    ),
    *(
        "pad",
        "Film",
        "GOOD",
        "not",
        "A",
        "8",
        "extraOrdinarily",
        "donaudampfschifffahrt",
        "\U00010400",
    ),
]


def random_texts(count: int, surrogates: bool) -> list[str]:
    """Texts of some pieces and of code points of all Unicode, most of the latter from where the scripts are."""
    rng = random.Random(count)

    def piece() -> str:
        kind = rng.random()
        if kind < 0.6:
            return rng.choice(PIECES)
        if kind < 0.8:
            return chr(rng.randrange(0x80))
        code = rng.randrange(0x3000) if kind < 0.95 else rng.randrange(0x110000)
        return chr(code) if surrogates or not 0xD800 <= code < 0xE000 else " "

    return ["".join(piece() for _ in range(rng.randrange(40))) for _ in range(count)]


def assert_as_reference(
    ids: torch.Tensor,
    lengths: torch.Tensor,
    texts: Sequence[str],
    words: Sequence[str],
    before: bool,
) -> None:
    expected, counted = reference.vectorize(texts, words, ids.shape[1], before)
    assert ids.tolist() == expected
    assert lengths.tolist() == counted


# What the words are.


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("length", [1, 5, 40, 300])
def test_random_texts_of_all_unicode(length: int, before: bool) -> None:
    texts = random_texts(4000, surrogates=True)
    counts = reference.count_words(texts)
    words = [*WORDS, *sorted(counts.keys() - set(WORDS))[::2]]
    vocabulary = Vocabulary(words)
    ids, lengths = vectorize(texts, vocabulary, length, "before" if before else "after")
    assert_as_reference(ids, lengths, texts, words, before)


def test_every_code_point_counts_as_in_the_reference() -> None:
    texts = [
        " ".join(f"x{chr(code)}Y" for code in range(start, start + 256))
        for start in range(0, 0x110000, 256)
    ]
    expected = reference.count_words(texts)
    counts = WordCounts()
    counts.add(texts)
    assert dict(counts.most_frequent(len(expected) + 1)) == dict(expected)


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_at_each_place_of_the_eight_bytes_that_are_read_together(piece: str) -> None:
    texts = [f"{'X' * before}{piece}{'y' * behind}" for before in range(17) for behind in range(17)]
    words = ["[UNK]", "pad", *sorted(reference.count_words(texts).keys() - {"pad"})]
    ids, lengths = vectorize(texts, Vocabulary(words), 8)
    assert_as_reference(ids, lengths, texts, words, before=False)


def test_words_of_any_length_are_told_apart() -> None:
    words = ["ab" * length for length in range(1, 40)] + [
        "ab" * length + "a" for length in range(40)
    ]
    words += ["abababab" + letter + tail for letter in "cd" for tail in ("", "e", "f" * 8)]
    random.Random(0).shuffle(words)
    vocabulary = Vocabulary(["[UNK]", "pad", *words])
    ids, _ = vectorize([" ".join(words)], vocabulary, len(words))
    assert ids.tolist() == [list(range(2, len(words) + 2))]
    unknown = [word + "z" for word in words]
    assert not vectorize([" ".join(unknown)], vocabulary, len(words))[0].any()


def test_the_table_is_what_the_script_makes() -> None:
    made = runpy.run_path(str(TABLE.with_suffix(".py")))
    committed = TABLE.with_suffix(".inc").read_text()
    if f"// Unicode {unicodedata.unidata_version}\n" in committed:
        assert made["table"]() == committed
        return
    # Another Python: only what was not assigned then, and so stands for itself, may differ.
    for code in range(0x110000):
        kind, target = made["rule"](chr(code))
        now = {"kRemoved": None, "kBreak": " ", "kSign": f" {target} ", "kWord": target}[kind]
        assert _text.translate(code) in (now, chr(code)), hex(code)


def test_code_points_end_where_unicode_does() -> None:
    with pytest.raises(IndexError, match="below 0x110000, got: 1114112"):
        _text.translate(0x110000)


# Where the texts are.


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string()])
def test_arrow_slices_and_chunks(type_: pa.DataType) -> None:
    texts = random_texts(300, surrogates=False)
    vocabulary = Vocabulary(WORDS)
    whole = pa.array(texts, type_)
    chunked = pa.chunked_array([whole[:7], whole[7:7], whole[7:100], whole[100:]])
    with_bits = pa.array([None, *texts, None], type_)[1:-1]
    for column in (whole, chunked, with_bits):
        ids, lengths = vectorize(column, vocabulary, 9)
        assert_as_reference(ids, lengths, texts, WORDS, before=False)
        ids, lengths = vectorize(column[13:250], vocabulary, 9)
        assert_as_reference(ids, lengths, texts[13:250], WORDS, before=False)
        counts = WordCounts()
        counts.add(column[13:250])
        assert dict(counts.most_frequent(10_000)) == reference.count_words(texts[13:250])


def test_no_and_empty_texts() -> None:
    vocabulary = Vocabulary(WORDS)
    empty = pa.array([], pa.string())
    for texts in ([], empty, pa.chunked_array([empty]), pa.chunked_array([], pa.string())):
        ids, lengths = vectorize(texts, vocabulary, 4)
        assert (tuple(ids.shape), tuple(lengths.shape)) == ((0, 4), (0,))
    assert vectorize(pa.array(["", " "]), vocabulary, 2)[0].tolist() == [[0, 1], [0, 1]]


def test_a_word_of_a_million_letters() -> None:
    text = "\u023a" * 1_000_000  # whose lower case is longer
    counts = WordCounts()
    counts.add([text])
    assert counts.most_frequent(2) == [(standardize(text), 1)]


@pytest.mark.parametrize("threads", [2, 3, 7, 400])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_threads_and_types_change_nothing(threads: int, dtype: torch.dtype) -> None:
    texts = pa.array(["", *random_texts(299, surrogates=False)])
    vocabulary = Vocabulary(WORDS)
    ids, lengths = vectorize(texts, vocabulary, 9)
    shared = vectorize(texts, vocabulary, 9, dtype=dtype, threads=threads)
    assert shared[0].dtype == dtype
    assert torch.equal(shared[0], ids.to(dtype))
    assert torch.equal(shared[1], lengths)


def test_a_vocabulary_is_copied_and_pickled_after_use() -> None:
    vocabulary = Vocabulary(WORDS)
    expected, _ = vectorize(["a good film"], vocabulary, 3)
    for other in (copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary))):
        assert other == vocabulary
        assert torch.equal(vectorize(["a good film"], other, 3)[0], expected)


# What is no text.


def test_nulls_and_other_types_are_refused() -> None:
    vocabulary = Vocabulary(WORDS)
    texts = pa.chunked_array([["a", "b"], ["c", None]])
    with pytest.raises(TypeError, match="texts must be strings, got null as row 3"):
        vectorize(texts, vocabulary, 5)
    with pytest.raises(TypeError, match="texts must be strings, got null as row 1"):
        WordCounts().add(texts[2:])
    with pytest.raises(TypeError, match="got an Arrow array of int64"):
        vectorize(pa.array([1]), vocabulary, 5)
    with pytest.raises(TypeError, match="got int as row 4097"):
        Vocabulary.build(["a"] * 4097 + [1])  # type: ignore[list-item]


def test_what_is_not_utf8_is_refused_where_python_refuses_it() -> None:
    rng = random.Random(0)
    parts = [
        b"\x80",
        b"\x8f",
        b"\x90",
        b"\x9f",
        b"\xa0",
        b"\xbf",
        b"\xc0",
        b"\xc1",
        b"\xc2",
        b"\xdf",
    ]
    parts += [b"\xe0", b"\xe2", b"\xed", b"\xf0", b"\xf4", b"\xf5", b"\xff"]
    parts += [
        code.encode() for code in "aaa\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
    ] * 3
    refused = 0
    for _ in range(10_000):
        text = b"".join(rng.choices(parts, k=rng.randrange(1, 6)))
        texts = pa.array([b"ok", text, b"\x80"], pa.binary()).cast(pa.string(), safe=False)[:2]
        try:
            text.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            refused += 1
            message = f"texts must be UTF-8, row 1 is not from its byte {error.start} on"
            with pytest.raises(ValueError, match=message):
                vectorize(texts, Vocabulary(WORDS), 3)
        else:
            vectorize(texts, Vocabulary(WORDS), 3)
    assert 2_000 < refused < 8_000


@pytest.mark.parametrize(
    ("offsets", "present", "skipped", "size", "message"),
    [
        ([0, 2, 9], None, 0, 2, "inside their buffer of 4 bytes, row 11 is from 2 to 9"),
        ([0, 3, 2], None, 0, 2, "inside their buffer of 4 bytes, row 11 is from 3 to 2"),
        ([-1, 2, 4], None, 0, 2, "inside their buffer of 4 bytes, row 10 is from -1 to 2"),
        ([0, 2, 4], None, 1, 2, "an offset for each and one more, got 3 for 3"),
        ([0, 2, 4], None, 0, -1, "be a slice, got -1 behind 0"),
        ([0] * 10, b"\xff", 0, 9, "a bit each that says which are null, got 8 for 9"),
    ],
)
def test_buffers_that_do_not_fit_are_refused(
    offsets: list[int], present: bytes | None, skipped: int, size: int, message: str
) -> None:
    buffer = np.array(offsets, np.int32)
    with pytest.raises(ValueError, match=f"texts must .*{message}"):
        _text.Strings(b"text", buffer, present, 4, skipped, size, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads must be at least 1, got: 0"),
        ({"dtype": torch.float32}, "dtype must be torch.int32 or torch.int64, got: torch.float32"),
    ],
)
def test_vectorize_rejects_bounds(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vectorize(["a"], Vocabulary(WORDS), 5, **arguments)  # type: ignore[arg-type]
