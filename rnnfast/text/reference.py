"""The rule of `rnnfast.text.vocabulary` in plain Python, for the tests: what the kernel does, text by text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from rnnfast import _text

SplitBy = Literal["spaces", "characters"]
Padding = Literal["after", "before"]
"""What parts words: spaces and other breaks alone, or also each character of a script without spaces."""
_LINE_BREAK = re.compile(r"<[bB][rR][ \t\r\n]*/?[ \t\r\n]*>")


class _Rule(dict[int, str | None]):
    """Code point -> what it becomes, filled at first sight; the table for ``str.translate``.

    What is removed is None and not "": that keeps translate on its fast path for ASCII.
    """

    def __missing__(self, code: int) -> str | None:
        self[code] = result = _text.translate(code)
        return result


_RULE = _Rule()


def require_split_by(split_by: SplitBy) -> SplitBy:
    """Returns it; raises ValueError unless it is "spaces" or "characters"."""
    if split_by not in ("spaces", "characters"):
        raise ValueError(f"split_by must be 'spaces' or 'characters', got: {split_by!r}")
    return split_by


def split_words(text: str, split_by: SplitBy = "spaces") -> list[str]:
    """The words of a text, in order."""
    require_split_by(split_by)
    if "<" in text:
        text = _LINE_BREAK.sub(" ", text)
    words = text.translate(_RULE).split()
    if split_by == "spaces":
        return words
    return [part for word in words for part in split_characters(word)]


def split_characters(word: str) -> list[str]:
    """The parts of a word: each character of a script without spaces with its marks, and what lies between them."""
    parts: list[str] = []
    is_character = False  # whether the last part is one of such a script
    for char in word:
        kind = _text.kind(ord(char))
        if parts and (kind == "mark" or (kind != "character" and not is_character)):
            parts[-1] += char
        else:
            parts.append(char)
            is_character = kind == "character"
    return parts


def count_words(texts: Iterable[str], split_by: SplitBy = "spaces") -> Counter[str]:
    """How often each word occurs."""
    return Counter(word for text in texts for word in split_words(text, split_by))


def vectorize(
    texts: Iterable[str],
    words: Iterable[str],
    sequence_length: int,
    pad_before: bool = False,
    split_by: SplitBy = "spaces",
) -> tuple[list[list[int]], list[int]]:
    """The rows of ids, and how many of each are no padding; `words` are in the order of their ids."""
    index = {word: i for i, word in enumerate(words) if i != 1}
    rows = [
        [index.get(word, 0) for word in split_words(text, split_by)[:sequence_length]] or [0]
        for text in texts
    ]
    lengths = [len(row) for row in rows]
    fill = [[1] * (sequence_length - length) for length in lengths]
    pairs = zip(rows, fill, strict=True)
    return [blank + row if pad_before else row + blank for row, blank in pairs], lengths
