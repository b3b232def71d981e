import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnfast.text.vocabulary import Vocabulary, standardize, vectorize

CORPUS = ["We are learning AI", "AI is a CS topic"]


# What a text becomes.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We are learning AI", "we are learning ai"),
        ("  two \t\n words ", "two words"),
        ("", ""),
        ("?!...", ""),
        # Breaks of lines, in every spelling, even between two words.
        ("one<br />two", "one two"),
        ("one<br>two<BR/>three<Br\n/ >four", "one two three four"),
        ("<broken> <br", "broken br"),
        # Punctuation parts words, apostrophes do not.
        ("GREAT...but long", "great but long"),
        ("a well-acted, 8/10 film (2004)!", "a well acted 8 10 film 2004"),
        ("snake_case $5 a+b", "snake case 5 a b"),
        ("Don't DON\u2019T don`t don\u00b4t don\u02bct", "dont dont dont dont dont"),
        ("the 'quoted' word", "the quoted word"),
        # Case, one code point at a time: no final sigma, no dot over the i.
        (
            "\u039f\u0394\u039f\u03a3 \u03bf\u03b4\u03cc\u03c2",
            "\u03bf\u03b4\u03bf\u03c3 \u03bf\u03b4\u03cc\u03c3",
        ),
        ("\u0130stanbul", "istanbul"),
        ("STRA\u1e9eE Stra\u00dfe", "stra\u00dfe stra\u00dfe"),
        # White space that is not ASCII, and controls.
        ("a\u00a0b\u2003c\u2028d\u3000e", "a b c d e"),
        ("a\x1cb\x00c\x85d\x7fe", "a b c d e"),
        ("a\ud800b", "a b"),
        # What cannot be seen is not there.
        ("co\u00adoperate \ufeffzero\u200bwidth", "cooperate zerowidth"),
        # Signs are words of their own, other punctuation of the world is not.
        ("great\U0001f600\U0001f600!", "great \U0001f600 \U0001f600"),
        ("\u2764\ufe0f love\u2605\u2605", "\u2764 love \u2605 \u2605"),
        ("\u00bfqu\u00e9? \u00abbon\u00bb \u4f60\u597d\u3002", "qu\u00e9 bon \u4f60\u597d"),
        # No normalisation: an accent of its own stays one.
        ("cafe\u0301", "cafe\u0301"),
        (
            "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
            "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
        ),
    ],
)
def test_standardize(text: str, expected: str) -> None:
    assert standardize(text) == expected


@given(st.text())
def test_standardizing_twice_changes_nothing_more(text: str) -> None:
    once = standardize(text)
    assert standardize(once) == once


@given(st.text(), st.text())
def test_a_space_separates_texts(left: str, right: str) -> None:
    left = left.replace("<", "")  # else it may begin a line break that the right one ends
    joined = standardize(f"{left}. {right}")
    assert joined.split() == [*standardize(left).split(), *standardize(right).split()]


def test_every_code_point_follows_the_rule() -> None:
    for code in [*range(0x20000), *range(0xE0000, 0xE0200), 0x10FFFF]:
        char = chr(code)
        category = unicodedata.category(char)
        result = standardize(f"x{char}y")
        if category == "So":
            assert result == f"x {char.lower()} y", hex(code)
        elif (category[0] in "PSZ" and result != "xy") or category in ("Cc", "Cs"):
            assert result == "x y", hex(code)
        elif result != "xy":
            assert len(result) == 3, hex(code)


def test_words_hold_no_white_space_and_no_line_end() -> None:
    everything = " ".join(map(chr, range(0x20000)))
    for word in standardize(everything).split(" "):
        assert word
        assert not any(char.isspace() for char in word)


# Which words are known.


def test_vocabulary_of_the_worked_example() -> None:
    vocabulary = Vocabulary.build(CORPUS, max_tokens=8)
    assert {word: vocabulary[word] for word in vocabulary} == {
        "[UNK]": 0,
        "pad": 1,
        "ai": 2,
        "a": 3,
        "are": 4,
        "cs": 5,
        "is": 6,
        "learning": 7,
    }
    assert len(vocabulary) == 8
    assert vocabulary["topic"] == 0
    assert "topic" not in vocabulary


def test_vocabulary_reads_a_stream_once() -> None:
    stream = iter(CORPUS)
    assert Vocabulary.build(stream, max_tokens=8) == Vocabulary.build(CORPUS, max_tokens=8)
    assert next(stream, None) is None


def test_vocabulary_keeps_frequent_words_only() -> None:
    vocabulary = Vocabulary.build(["b b b a a c"], min_frequency=2)
    assert vocabulary.words == ("[UNK]", "pad", "b", "a")


def test_the_word_pad_is_no_padding() -> None:
    vocabulary = Vocabulary.build(["pad pad pad brake"])
    assert vocabulary.words == ("[UNK]", "pad", "brake")
    ids, lengths = vectorize(["brake pad"], vocabulary, 3)
    assert ids.tolist() == [[2, 0, 1]]
    assert lengths.tolist() == [2]


@pytest.mark.parametrize("max_distinct", [1, 100, 1_000_000])
def test_vocabulary_is_exact_in_any_memory(max_distinct: int) -> None:
    # 40 frequent words among 4,000 that occur once each.
    texts = [
        " ".join(f"rare{2 * i + j}" for j in range(2))
        + " "
        + " ".join(f"w{k:02d}" for k in range(40) if i % (k + 3) == 0)
        for i in range(2000)
    ]
    exact = Counter(word for text in texts for word in text.split())
    ranked = sorted(exact, key=lambda word: (-exact[word], word))
    vocabulary = Vocabulary.build(texts, max_tokens=50, max_distinct=max_distinct)
    assert vocabulary.words[2:] == tuple(ranked[:48])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_tokens": 2}, "max_tokens must be at least 3, got: 2"),
        ({"min_frequency": 0}, "min_frequency must be at least 1, got: 0"),
        ({"max_distinct": 0}, "max_distinct must be at least 1, got: 0"),
    ],
)
def test_vocabulary_rejects_bounds(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary.build(CORPUS, **arguments)


def test_vocabulary_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="texts must hold at least one word"):
        Vocabulary.build(["", "..."])


def test_vocabulary_file(tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(["na\u00efve \u4f60\u597d \U0001f600 \u0646\u0639\u0645"])
    path = tmp_path / "vocabulary.txt"
    vocabulary.save(path)
    assert path.read_bytes().startswith(b"[UNK]\npad\n")
    assert path.read_bytes().count(b"\n") == len(vocabulary)
    assert Vocabulary.load(path) == vocabulary


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut off"),
        (b"[UNK]\npad\nwor", "cut off"),
        (b"pad\n[UNK]\n", "must begin with"),
        (b"[UNK]\npad\na\na\n", "'a' as 2 and 3"),
        (b"[UNK]\npad\n\na\n", "word 2: ''"),
        (b"[UNK]\r\npad\r\n", "must begin with"),
        (b"[UNK]\npad\n\xff\n", "utf-8"),
    ],
)
def test_a_broken_vocabulary_file_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value)


# Which ids a text becomes.


@pytest.mark.parametrize(
    ("text", "expected", "length"),
    [
        ("We are learning AI", [0, 4, 7, 2, 1], 4),
        ("AI is a CS topic", [2, 6, 3, 5, 0], 5),
        ("AI topic in CS is difficult", [2, 0, 0, 5, 6], 5),
    ],
)
def test_vectorize_the_worked_example(text: str, expected: list[int], length: int) -> None:
    ids, lengths = vectorize([text], Vocabulary.build(CORPUS, max_tokens=8), 5)
    assert ids.tolist() == [expected]
    assert lengths.tolist() == [length]
    assert (ids.dtype, lengths.dtype) == (torch.int32, torch.int64)


def test_vectorize_pads_before() -> None:
    vocabulary = Vocabulary.build(CORPUS, max_tokens=8)
    texts = ["AI is", "", "AI is a CS topic"]
    ids, lengths = vectorize(texts, vocabulary, 4, padding="before")
    assert ids.tolist() == [[1, 1, 2, 6], [1, 1, 1, 0], [2, 6, 3, 5]]
    assert lengths.tolist() == [2, 1, 4]


def test_an_empty_text_is_one_unknown_word() -> None:
    ids, lengths = vectorize(["", " ! "], Vocabulary.build(CORPUS), 3)
    assert ids.tolist() == [[0, 1, 1], [0, 1, 1]]
    assert lengths.tolist() == [1, 1]


def test_vectorize_no_texts() -> None:
    ids, lengths = vectorize(iter([]), Vocabulary.build(CORPUS), 3)
    assert (tuple(ids.shape), tuple(lengths.shape)) == ((0, 3), (0,))


@given(st.lists(st.text(alphabet="ab \u00e9.<", max_size=30), max_size=6), st.integers(1, 8))
def test_vectorize_agrees_with_standardize(texts: list[str], length: int) -> None:
    vocabulary = Vocabulary(["[UNK]", "pad", "a", "b", "ab", "\u00e9"])
    for padding in ("after", "before"):
        ids, lengths = vectorize(texts, vocabulary, length, padding=padding)  # type: ignore[arg-type]
        for row, count, text in zip(ids.tolist(), lengths.tolist(), texts, strict=True):
            expected = [vocabulary[word] for word in standardize(text).split()][:length] or [0]
            assert count == len(expected)
            fill = [1] * (length - count)
            assert row == (expected + fill if padding == "after" else fill + expected)


def test_vectorize_rejects_what_is_no_text() -> None:
    vocabulary = Vocabulary.build(CORPUS)
    with pytest.raises(TypeError, match="got NoneType as row 1"):
        vectorize(["a", None], vocabulary, 5)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="sequence_length must be at least 1, got: 0"):
        vectorize(["a"], vocabulary, 0)
    with pytest.raises(ValueError, match="padding must be 'after' or 'before', got: 'left'"):
        vectorize(["a"], vocabulary, 5, padding="left")  # type: ignore[arg-type]
