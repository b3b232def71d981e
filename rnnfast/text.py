"""Text to token ids: ``standardize``, ``Vocabulary``, ``vectorize``.

The rule that turns a text into words is a table over single code points, without context and
without a tokenizer's exceptions, so that any other implementation can reproduce it to the last id:

1. ``<br>``, ``<br/>`` and ``<br />`` (any case; spaces, tabs and line ends may stand before the
   slash or the bracket) are a break. No other markup is known.
2. Every other code point stands for itself and is looked up by its Unicode general category:

   ====================================================  ========================================
   an apostrophe: U+0027 ' U+0060 ` U+00B4 U+02BC        removed: ``don't`` is ``dont``
   U+2018 U+2019 U+FF07
   invisible: Cf, variation selectors U+FE00 to U+FE0F   removed: soft hyphen, joiners, byte order
                                                         mark
   So (emoji, stars, signs)                              a word of its own
   other punctuation and symbols, P*, S*                 a break: ``great...but`` is ``great but``
   white space and controls, Z*, Cc, lone surrogates Cs  a break: also U+00A0 and U+001C
   all else: letters, marks, digits, ...                 its simple lower case (one code point)
   ====================================================  ========================================

3. Words are what lies between breaks.

Simple lower case means that U+0130 (I with a dot) becomes a plain ``i``; both sigmas, U+03A3 and the
final U+03C2, become U+03C3 wherever they stand. Categories are those of the running Python's
``unicodedata``. Left out on purpose: Unicode normalisation (a letter with a combining accent
differs from the composed letter), stemming, stop words, and word breaks in scripts without spaces.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Padding = Literal["after", "before"]

_LINE_BREAK = re.compile(r"<[bB][rR][ \t\r\n]*/?[ \t\r\n]*>")
_APOSTROPHES = frozenset("'`\u00b4\u02bc\u2018\u2019\uff07")


class _Rule(dict[int, str | None]):
    """Code point -> what it becomes, filled at first sight; the table for ``str.translate``.

    What is removed is None and not "": that keeps translate on its fast path for ASCII.
    """

    def __missing__(self, code: int) -> str | None:
        self[code] = result = self._apply(chr(code))
        return result

    @staticmethod
    def _apply(char: str) -> str | None:
        category = unicodedata.category(char)
        if char in _APOSTROPHES or category == "Cf" or "\ufe00" <= char <= "\ufe0f":
            return None
        if category == "So":
            # Some signs have two cases, such as the circled letters.
            return f" {char.lower()} "
        if category[0] in "PSZ" or category in ("Cc", "Cs"):
            return " "
        if char == "\u03c2":
            return "\u03c3"
        return char.lower()[0]  # only U+0130 has a longer lower case: i and a combining dot


_RULE = _Rule()


def split_words(text: str) -> list[str]:
    """The words of a text, by the rule above, in order."""
    if "<" in text:
        text = _LINE_BREAK.sub(" ", text)
    return text.translate(_RULE).split()


def standardize(text: str) -> str:
    """The words of a text, by the rule above, joined by single spaces.

    Standardizing twice changes nothing more.

    >>> standardize("Don't miss it!<br />GREAT...but long, 8/10 \N{WHITE MEDIUM STAR}")
    'dont miss it great but long 8 10 \N{WHITE MEDIUM STAR}'
    """
    return " ".join(split_words(text))


class Vocabulary:
    """The known words, each with its id: 0 is ``[UNK]``, 1 is ``pad``, then by falling frequency.

    ``words[id]`` is a word, ``vocabulary[word]`` its id, 0 for an unknown one. The entry ``pad`` is
    the padding, not the English word: in a text that word is unknown, so that id 1 always is
    padding.
    """

    UNKNOWN = "[UNK]"
    PAD = "pad"

    def __init__(self, words: Iterable[str]) -> None:
        """Take the words in the order of their ids, the two special ones first.

        Raises ValueError when these are missing, or a word is empty, double, or has a line end.
        """
        self.words: tuple[str, ...] = tuple(words)
        if self.words[:2] != (self.UNKNOWN, self.PAD):
            raise ValueError(
                f"words must begin with {self.UNKNOWN!r}, {self.PAD!r}, got: {self.words[:2]!r}"
            )
        self._index: dict[str, int] = {}
        for i, word in enumerate(self.words):
            if not word or "\n" in word or "\r" in word:
                raise ValueError(f"words must be non-empty, without a line end; word {i}: {word!r}")
            if self._index.setdefault(word, i) != i:
                raise ValueError(f"words must differ, got {word!r} as {self._index[word]} and {i}")

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, word: str) -> int:
        return self._index.get(word, 0)

    def __contains__(self, word: object) -> bool:
        return word in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words)"

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        *,
        max_tokens: int = 20_000,
        min_frequency: int = 1,
        max_distinct: int = 1_000_000,
    ) -> Vocabulary:
        """Count the words of a stream of texts, in one pass, and keep the most frequent.

        Args:
            texts: raw texts; they are standardized here and none is kept.
            max_tokens: size of the vocabulary, ``[UNK]`` and ``pad`` included; at least 3.
            min_frequency: a word must occur this often to be kept; at least 1.
            max_distinct: how many distinct words are counted at a time, which bounds the memory;
                at least ``2 * max_tokens``.

        Ties in frequency are resolved in alphabetical (code point) order. The counts are exact
        as long as no more than ``max_distinct`` distinct words have occurred. Beyond that the
        table is cut to its ``k = max_distinct // 2`` most frequent words by taking the count of
        word ``k + 1`` from all of them: a count is then too low by at most
        ``total words / (k + 1)``, and by the same amount for all words that were never dropped,
        so that their order stays true (Misra and Gries 1982; Agarwal et al., "Mergeable
        Summaries", 2012).

        Raises ValueError for an argument out of bounds and for a stream without a single word.
        """
        _at_least("max_tokens", max_tokens, 3)
        _at_least("min_frequency", min_frequency, 1)
        _at_least("max_distinct", max_distinct, 2 * max_tokens)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split_words(text))
            if len(counts) > max_distinct:
                counts = _most_frequent(counts, max_distinct // 2)
        if not counts:
            raise ValueError("texts must hold at least one word, got none")
        del counts[cls.PAD]  # no error where it did not occur
        kept = (item for item in counts.items() if item[1] >= min_frequency)
        ranked = sorted(kept, key=lambda item: (-item[1], item[0]))
        return cls([cls.UNKNOWN, cls.PAD, *(word for word, _ in ranked[: max_tokens - 2])])

    def save(self, path: str | Path) -> None:
        """Write one word a line in the order of the ids, UTF-8, lines ended by a line feed."""
        text = "".join(f"{word}\n" for word in self.words)
        Path(path).write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what ``save`` wrote. Raises ValueError, naming the file, where it is anything else."""
        try:
            text = Path(path).read_bytes().decode("utf-8")
            if not text.endswith("\n"):
                raise ValueError("the last line must end in a line feed: the file is cut off")
            return cls(text[:-1].split("\n"))
        except ValueError as error:  # UnicodeDecodeError is one
            raise ValueError(f"{path} is not a vocabulary: {error}") from error


def vectorize(
    texts: Iterable[str],
    vocabulary: Vocabulary,
    sequence_length: int,
    padding: Padding = "after",
) -> tuple[Tensor, Tensor]:
    """Token ids and true lengths of raw texts.

    Args:
        texts: N raw texts; they are standardized here.
        vocabulary: gives the ids.
        sequence_length: L, the tokens that a row holds; the rest of a longer text is cut off.
        padding: where a shorter text's row is filled up with id 1, after or before its words.

    Returns:
        ids (N, L) int32, and lengths (N,) int64, the tokens of each row that are no padding, from
        1 to L. A text without a single word becomes one ``[UNK]``.

    Raises ValueError for an argument out of bounds, TypeError for a text that is no string.
    """
    _at_least("sequence_length", sequence_length, 1)
    if padding not in ("after", "before"):
        raise ValueError(f"padding must be 'after' or 'before', got: {padding!r}")
    index = {word: i for i, word in enumerate(vocabulary) if i != 1}
    flat = array("i")
    lengths = array("q")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts must be strings, got {type(text).__name__} as row {row}")
        words = split_words(text)[:sequence_length]
        flat.extend(map(index.get, words, repeat(0)) if words else (0,))
        lengths.append(max(len(words), 1))
    true_lengths = np.frombuffer(lengths, np.int64) if lengths else np.empty(0, np.int64)
    columns = np.arange(sequence_length)
    if padding == "after":
        filled = columns < true_lengths[:, None]
    else:
        filled = columns >= sequence_length - true_lengths[:, None]
    ids = np.full((len(lengths), sequence_length), 1, np.int32)
    ids[filled] = flat
    return torch.from_numpy(ids), torch.from_numpy(true_lengths.copy())


def _at_least(name: str, value: int, bound: int) -> None:
    if value < bound:
        raise ValueError(f"{name} must be at least {bound}, got: {value}")


def _most_frequent(counts: Counter[str], k: int) -> Counter[str]:
    """The k most frequent words, each count less by that of word k + 1; see ``Vocabulary.build``."""
    values = np.fromiter(counts.values(), np.int64, len(counts))
    offset = int(np.partition(values, len(values) - k - 1)[len(values) - k - 1])
    return Counter({word: n - offset for word, n in counts.items() if n > offset})
