"""Which words moved a score: what the score would have been without each of them.

A word is left out of the raw text, and the text scored again (occlusion: Zeiler and Fergus, "Visualizing and
Understanding Convolutional Networks", 2014; for words Li et al., "Understanding Neural Networks through
Representation Erasure", 2016). So an effect is a fact about the model and this text, whatever the model is, and not
an estimate. Effects do not add up to the score: of two words that say the same, each alone may have none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rnnfast.text.reference import SplitBy, split_characters

_PIECE = re.compile(r"<br\s*/?>|(?P<word>(?:(?!<br\s*/?>)\S)+)", re.IGNORECASE)
_ANY = re.compile(r".+", re.DOTALL)


def find_words(text: str, split_by: SplitBy = "spaces") -> list[re.Match[str]]:
    """The words of a raw text: all that is not parted by white space or a line break of HTML.

    By characters these are parted further, as in `rnnfast.text.vocabulary`.
    """
    words = [match for match in _PIECE.finditer(text) if match["word"]]
    return words if split_by == "spaces" else [part for word in words for part in _parts(word)]


def _parts(word: re.Match[str]) -> Iterator[re.Match[str]]:
    start = word.start()
    for part in split_characters(word.group()):
        found = _ANY.match(word.string, start, start + len(part))
        assert found is not None
        yield found
        start += len(part)


def word_effects(
    text: str,
    log_odds: Callable[[Sequence[str]], np.ndarray],
    limit: int = 200,
    split_by: SplitBy = "spaces",
) -> list[float]:
    """By how much each of the first words raises the log-odds of a text.

    Args:
        text: raw.
        log_odds: gives those of label 1, ``ln(p / (1 - p))``, (N,) for N raw texts.
        limit: words that are looked at, at the most.
        split_by: what parts words.

    Returns:
        Of each word, as `find_words` finds them, the log-odds of the text less those of the text without it: above
        0 where the word speaks for label 1.
    """
    words = [match.span() for match in find_words(text, split_by)[:limit]]
    without = [text[:start] + text[stop:] for start, stop in words]
    odds = log_odds([text, *without])
    result: list[float] = (odds[0] - odds[1:]).tolist()
    return result
