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
4. Where texts are split by characters, each character of a script that puts no spaces between words (Han, kana,
   Bopomofo, Thai, Lao, Khmer, Myanmar, the Tai scripts; not their digits) is a word too, together with the combining
   marks behind it. What is of another script stays as it is.

Simple lower case means that U+0130 (I with a dot) becomes a plain ``i``; both sigmas, U+03A3 and the
final U+03C2, become U+03C3 wherever they stand. Categories are those of Unicode 14.0, whatever
Python runs, from a table that ``csrc/text/code_points.py`` made; what Unicode has assigned since
then stands for itself. Left out on purpose: Unicode normalisation (a letter with a combining accent
differs from the composed letter), stemming, stop words, and words of several characters in scripts without spaces,
which take a dictionary.

Many texts at a time go through the kernel in ``csrc/text``, from Arrow's buffers and without a
Python string each; ``rnnfast.text.reference`` is the same in plain Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from rnnfast import _text
from rnnfast.text.reference import Padding, SplitBy, require_split_by, split_words
from rnnfast.text.strings import Texts, columns, joined
from rnnfast.text.word_counts import WordCounts

__all__ = ["Padding", "SplitBy", "Vocabulary", "standardize", "unspaced_share", "vectorize"]

# The same scripts as in rule 4, as the regular expressions of Arrow know them.
_UNSPACED = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}"
    r"\p{Tai_Tham}\p{Tai_Viet}]"
)


def unspaced_share(texts: pa.Array | pa.ChunkedArray) -> float:
    """Which share of the letters of texts is of scripts that put no spaces between words; 0 where there is no letter.

    Args:
        texts: Arrow strings; nulls are passed over.
    """
    letters = pc.sum(pc.count_substring_regex(texts, r"\p{L}")).as_py() or 0
    unspaced = pc.sum(pc.count_substring_regex(texts, _UNSPACED)).as_py() or 0
    return min(1.0, unspaced / letters) if letters else 0.0


def standardize(text: str, split_by: SplitBy = "spaces") -> str:
    """The words of a text, by the rule above, joined by single spaces.

    Standardizing twice changes nothing more.

    >>> standardize("Don't miss it!<br />GREAT...but long, 8/10 \N{WHITE MEDIUM STAR}")
    'dont miss it great but long 8 10 \N{WHITE MEDIUM STAR}'
    """
    return " ".join(split_words(text, split_by))


class Vocabulary:
    """The known words, each with its id: 0 is ``[UNK]``, 1 is ``pad``, then by falling frequency.

    ``words[id]`` is a word, ``vocabulary[word]`` its id, 0 for an unknown one; ``split_by`` says how texts become such
    words. The entry ``pad`` is
    the padding, not the English word: in a text that word is unknown, so that id 1 always is
    padding.

    Example:
        >>> vocabulary = Vocabulary.build(["We are learning AI", "AI is a CS topic"], max_tokens=8)
        >>> vocabulary.words[:4], vocabulary["learning"]
        (('[UNK]', 'pad', 'ai', 'a'), 7)
    """

    UNKNOWN = "[UNK]"
    PAD = "pad"

    def __init__(self, words: Iterable[str], split_by: SplitBy = "spaces") -> None:
        """Take the words in the order of their ids, the two special ones first.

        Raises ValueError when these are missing, or a word is empty, double, or has a line end; or
        for a ``split_by`` that is neither "spaces" nor "characters".
        """
        self.split_by = require_split_by(split_by)
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
        if not isinstance(other, Vocabulary):
            return False
        return (self.words, self.split_by) == (other.words, other.split_by)

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words)"

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[tuple[str, ...], SplitBy]]:
        return Vocabulary, (self.words, self.split_by)  # without the kernel's table

    @cached_property
    def table(self) -> _text.Words:
        """The words as the kernel looks them up."""
        # No word of a text is empty, so that none gets the id of the padding.
        return _text.Words(joined([self.UNKNOWN, "", *self.words[2:]]))

    @classmethod
    def build(
        cls,
        texts: Texts,
        *,
        max_tokens: int = 20_000,
        min_frequency: int = 1,
        max_distinct: int = 1_000_000,
        split_by: SplitBy = "spaces",
    ) -> Vocabulary:
        """Count the words of a stream of texts, in one pass, and keep the most frequent.

        Args:
            texts: raw texts, Python's or Arrow's; they are standardized here and none is kept.
            max_tokens: as in ``from_counts``.
            min_frequency: as in ``from_counts``.
            max_distinct: how many distinct words are counted in memory at a time, at least 1;
                where there are more, temporary files take them up, and the counts stay exact.
            split_by: how texts become words: "spaces" or "characters", rule 4 above.

        Raises ValueError for an argument out of bounds, for a stream without a single word and for
        a text that is not UTF-8; TypeError for a text that is no string.
        """
        cls._check_bounds(max_tokens, min_frequency)
        counts = WordCounts(max_distinct, split_by)
        counts.add(texts)
        return cls.from_counts(counts, max_tokens=max_tokens, min_frequency=min_frequency)

    @classmethod
    def from_counts(
        cls, counts: WordCounts, *, max_tokens: int = 20_000, min_frequency: int = 1
    ) -> Vocabulary:
        """Keep the most frequent words, ties in frequency in alphabetical (code point) order.

        Args:
            counts: of the words of a corpus.
            max_tokens: size of the vocabulary, ``[UNK]`` and ``pad`` included; at least 3.
            min_frequency: a word must occur this often to be kept; at least 1.

        Raises ValueError for an argument out of bounds and where no word was counted.
        """
        cls._check_bounds(max_tokens, min_frequency)
        ranked = counts.most_frequent(max_tokens - 1)  # one to spare: pad may be among them
        if not ranked:
            raise ValueError("texts must hold at least one word, got none")
        kept = [word for word, count in ranked if count >= min_frequency and word != cls.PAD]
        return cls([cls.UNKNOWN, cls.PAD, *kept[: max_tokens - 2]], counts.split_by)

    @staticmethod
    def _check_bounds(max_tokens: int, min_frequency: int) -> None:
        _at_least("max_tokens", max_tokens, 3)
        _at_least("min_frequency", min_frequency, 1)

    def save(self, path: str | Path) -> None:
        """Write one word a line in the order of the ids, UTF-8, lines ended by a line feed."""
        text = "".join(f"{word}\n" for word in self.words)
        Path(path).write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | Path, split_by: SplitBy = "spaces") -> Vocabulary:
        """Read what ``save`` wrote, which does not say how texts are split.

        Raises ValueError, naming the file, where it is anything else.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8")
            if not text.endswith("\n"):
                raise ValueError("the last line must end in a line feed: the file is cut off")
            return cls(text[:-1].split("\n"), split_by)
        except ValueError as error:  # UnicodeDecodeError is one
            raise ValueError(f"{path} is not a vocabulary: {error}") from error


def vectorize(
    texts: Texts,
    vocabulary: Vocabulary,
    sequence_length: int,
    padding: Padding = "after",
    *,
    dtype: torch.dtype = torch.int32,
    threads: int = 1,
) -> tuple[Tensor, Tensor]:
    """Token ids and true lengths of raw texts.

    Args:
        texts: N raw texts, Python's or Arrow's (``string`` or ``large_string``, an array or one in
            chunks); they are standardized here. Arrow's are read where they are.
        vocabulary: gives the ids.
        sequence_length: L, the tokens that a row holds; the rest of a longer text is cut off.
        padding: where a shorter text's row is filled up with id 1, after or before its words.
        dtype: of the ids, ``torch.int32`` or ``torch.int64``.
        threads: that share the rows, at least 1; the result is the same for any number.

    Returns:
        ids (N, L), and lengths (N,) int64, the tokens of each row that are no padding, from
        1 to L. A text without a single word becomes one ``[UNK]``.

    Raises ValueError for an argument out of bounds and for a text that is not UTF-8, TypeError for
    a text that is no string, or null.
    """
    _at_least("sequence_length", sequence_length, 1)
    _at_least("threads", threads, 1)
    if padding not in ("after", "before"):
        raise ValueError(f"padding must be 'after' or 'before', got: {padding!r}")
    if dtype not in (torch.int32, torch.int64):
        raise ValueError(f"dtype must be torch.int32 or torch.int64, got: {dtype}")
    parts = list(columns(texts))
    ids = torch.empty(sum(map(len, parts)), sequence_length, dtype=dtype)
    lengths = torch.empty(len(ids), dtype=torch.int64)
    row = 0
    for part in parts:
        _text.vectorize(
            part,
            vocabulary.table,
            ids.numpy(),
            lengths.numpy(),
            row,
            padding == "before",
            vocabulary.split_by == "characters",
            threads,
        )
        row += len(part)
    return ids, lengths


def _at_least(name: str, value: int, bound: int) -> None:
    if value < bound:
        raise ValueError(f"{name} must be at least {bound}, got: {value}")
