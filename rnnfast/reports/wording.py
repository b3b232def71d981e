"""Values and texts as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeGuard, TypeVar

from markupsafe import Markup, escape

from rnnfast.evaluation.attribution import find_words

Part = Mapping[str, Any]
T = TypeVar("T")

MAX_EXAMPLE_CHARACTERS = 600
"""A longer example is cut here and ends in an ellipsis."""

MOST_MARKED = 12
"""Words of an example that are marked, those that moved its score most."""

CELL_NAMES = {
    "rnn": "RNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "mlp": "MLP",
    "cnn": "CNN",
    "ngrams": "n-grams",
    "dlinear": "DLinear",
    "linear": "Linear autoregression",
    "seasonal": "Last season",
}
"""How a cell is written in headings."""


def number(value: object, decimals: int | None = None) -> str:
    """A value as text: thousands grouped, `decimals` or four significant digits, else "n/a"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return ", ".join(map(number, value)) or "none"
    if not finite(value):
        return "n/a"
    if isinstance(value, Integral):
        return f"{value:,}"
    if decimals is None:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"
    return f"{value:,.{decimals}f}"


def percent(share: object, digits: int = 1) -> str:
    """A share from 0 to 1 as a percentage, e.g. 0.8834 -> "88.3%"."""
    return f"{100 * share:.{digits}f}%" if finite(share) else "n/a"


def duration(seconds: object) -> str:
    """Seconds as people say them: "0.42 s", "3 min 12 s", "1 h 02 min"."""
    if not finite(seconds):
        return "n/a"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def wilson(share: object, rows: object) -> tuple[float, float] | None:
    """The 95 % interval of a share seen in `rows` independent rows (Wilson 1927).

    None without a share or rows. Unlike the normal approximation it stays within 0 and 1, and it
    holds near both ends.
    """
    if not (finite(share) and finite(rows) and rows > 0):
        return None
    z = 1.959964  # the 97.5 % point of the standard normal distribution
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / (1 + z * z / rows)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(part: Part) -> str:
    """The 95 % interval of a part's `accuracy` over its `rows`, e.g. "87.9% to 88.7%"."""
    bounds = wilson(part.get("accuracy"), part.get("rows"))
    return " to ".join(map(percent, bounds)) if bounds else "n/a"


_NAMES = CELL_NAMES | {
    "auc": "AUC",
    "brier": "Brier score",
    "mae": "MAE",
    "mse": "MSE",
    "r2": "R²",
    "rmse": "RMSE",
}


def heading(key: str) -> str:
    """A key of a dictionary as words: "validation_loss" -> "Validation loss"."""
    words = _NAMES.get(key, str(key)).replace("_", " ")
    return words if key in _NAMES else words[:1].upper() + words[1:]


def pairs(part: Part, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a nested dictionary, inner names after their outer ones and a dot."""
    for key, value in part.items():
        if isinstance(value, Mapping) and value:
            yield from pairs(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "none" if value is None else number(value)


def excerpt(text: str) -> str:
    """A text to read: `<br />` is a line break, control characters go, what is too long is cut."""
    text = _cleaned(text)
    if len(text) <= MAX_EXAMPLE_CHARACTERS:
        return text
    return text[:MAX_EXAMPLE_CHARACTERS].rstrip() + "…"


def marked(example: Part) -> Markup:
    """The excerpt of an example, the words that moved its score marked: `up` towards label 1, else `down`."""
    shown = excerpt(example["text"])
    known = [effect for _, effect in effects(example)]
    words = list(zip(find_words(shown, example.get("split_by", "spaces")), known, strict=False))
    most = strongest(words, MOST_MARKED)
    pieces, end = [], 0
    for match, effect in words:
        if effect and (match, effect) in most:
            share = effect / abs(most[0][1])
            pieces += [escape(shown[end : match.start()]), _mark(match.group(), share)]
            end = match.end()
    return Markup("").join([*pieces, escape(shown[end:])])


def effects(example: Part) -> list[tuple[str, float]]:
    """Words of an example and what each did, in their order.

    Empty where that is unknown, or where cleaning the text to be read has joined or parted words.
    """
    known = example.get("effects") or []
    split_by = example.get("split_by", "spaces")
    words = [match.group() for match in find_words(_cleaned(example["text"]), split_by)]
    if len(words) != len(find_words(example["text"], split_by)) or not all(map(finite, known)):
        return []
    return list(zip(words, known, strict=False))


def strongest(pairs: Sequence[tuple[T, float]], count: int = 10) -> list[tuple[T, float]]:
    """The pairs of a thing and a number whose numbers are farthest from 0, the farthest first."""
    return sorted(pairs, key=lambda pair: -abs(pair[1]))[:count]


def finite(value: object) -> TypeGuard[float]:
    """Whether a value is a number that can be drawn."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _cleaned(text: str) -> str:
    text = re.sub(r"<br\s*/?>", "\n", text, flags=re.IGNORECASE)
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", "", text)
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def _mark(word: str, share: float) -> Markup:
    side = "up" if share > 0 else "down"
    return Markup('<mark class="{}" style="--share: {:.2f}">{}</mark>').format(
        side, abs(share), word
    )
