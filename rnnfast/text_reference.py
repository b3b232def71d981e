"""The rule of `rnnfast.text` in plain Python, for the tests: what the kernel does, text by text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from rnnfast import _text

_LINE_BREAK = re.compile(r"<[bB][rR][ \t\r\n]*/?[ \t\r\n]*>")


class _Rule(dict[int, str | None]):
    """Code point -> what it becomes, filled at first sight; the table for ``str.translate``.

    What is removed is None and not "": that keeps translate on its fast path for ASCII.
    """

    def __missing__(self, code: int) -> str | None:
        self[code] = result = _text.translate(code)
        return result


_RULE = _Rule()


def split_words(text: str) -> list[str]:
    """The words of a text, in order."""
    if "<" in text:
        text = _LINE_BREAK.sub(" ", text)
    return text.translate(_RULE).split()


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs."""
    return Counter(word for text in texts for word in split_words(text))


def vectorize(
    texts: Iterable[str], words: Iterable[str], sequence_length: int, pad_before: bool = False
) -> tuple[list[list[int]], list[int]]:
    """The rows of ids, and how many of each are no padding; `words` are in the order of their ids."""
    index = {word: i for i, word in enumerate(words) if i != 1}
    rows = [
        [index.get(word, 0) for word in split_words(text)[:sequence_length]] or [0]
        for text in texts
    ]
    lengths = [len(row) for row in rows]
    fill = [[1] * (sequence_length - length) for length in lengths]
    pairs = zip(rows, fill, strict=True)
    return [blank + row if pad_before else row + blank for row, blank in pairs], lengths
