"""What the rows of a run were like, for later rows to be held against: the file `profile.json` of its folder.

Rows are counted as `rnnfast.evaluation.drift` does, so that parts of them add up. Of texts the features are `words` and
`characters` (how many), `unknown` (share of the words that the vocabulary lacks) and `non_ascii` (bytes beyond one a
character, as a share); of readings each channel in standard deviations of the training part. What a model
gives has features of its own: `score`, `label`, `number`, `score of` a tag, `forecast of` a channel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from rnnfast.evaluation.drift import COUNTS, DEVIATIONS, ERRORS, SHARES, Histogram, Tally, drift
from rnnfast.labels.target import Target
from rnnfast.models.texts import PAIR
from rnnfast.text.vocabulary import Vocabulary, vectorize
from rnnfast.training.run_folder import PROFILE, RunFolderError

if TYPE_CHECKING:
    from rnnfast.models.window_config import WindowConfig

LEARNED = {"unknown"}  # features of the input that training has a part in
NO_WORDS = Vocabulary([Vocabulary.UNKNOWN, Vocabulary.PAD])
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
TEXTS = 4096  # looked at together
_READINGS = 1 << 16  # likewise
# A channel as a model sees it that takes the level from each window.
LEVEL_LESS = "{} less its level"
# Cells that forecast from the level, whatever it is.
LEVEL_FREE = ("nlinear", "persistence", "seasonal")
BLOCKS = 16  # of the training part, for `Profile.usual`
ERROR_OF = "error of {}"  # what the forecasts of a channel missed the truth by
_PARTS = ("training", "validation", "test")


@dataclass(eq=False)
class Profile:
    """The rows of a run.

    Attributes:
        training: the training rows, without what the model gives for them.
        validation: the validation rows, with what the model gives.
        test: the test rows, likewise.
        blocks: parts of the training rows, one after the other in time; empty where these have no time.
    """

    training: Tally
    validation: Tally
    test: Tally
    blocks: tuple[Tally, ...] = ()

    def usual(self, feature: str, rows: int) -> float:
        """The largest index that any stretch of the training rows has against all of them, as long as so many rows.

        Readings that follow each other are alike, and differ from season to season: the index of independent rows
        says nothing of them. What the training part itself went through is no drift (subsampling: Politis, Romano and
        Wolf, 1999). Stretches are of whole blocks, half of them at the most. 0 without blocks.
        """
        parts = [block.features[feature] for block in self.blocks if feature in block.features]
        if not parts or feature not in self.training.features:
            return 0.0
        whole = self.training.features[feature]
        length = round(rows * len(parts) / max(whole.total, 1))
        length = min(max(1, length), max(1, len(parts) // 2))
        found = [0.0]
        for start in range(len(parts) - length + 1):
            stretch = Histogram.over(whole.edges)
            for part in parts[start : start + length]:
                stretch.include(part)
            if stretch.total:
                found.append(drift(whole, stretch).index)
        return max(found)

    @property
    def reference(self) -> dict[str, Histogram]:
        """What other rows are to be like: the training rows, but for what the model knows of these.

        The outputs for training rows would be too sure, and of the words of which the vocabulary was made fewer are
        unknown: these are taken from the validation rows, and without any from the test rows.
        """
        apart = self.test.features | {k: v for k, v in self.validation.features.items() if v.total}
        known = {name: apart[name] for name in (LEARNED & apart.keys())}
        return apart | self.training.features | known

    def save(self, run_dir: Path) -> None:
        """Writes `profile.json`."""
        parts: dict[str, Any] = {name: getattr(self, name).as_json() for name in _PARTS}
        parts["blocks"] = [block.as_json() for block in self.blocks]
        (run_dir / PROFILE).write_text(json.dumps(parts) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, run_dir: Path) -> Profile | None:
        """Reads it; None where a run of an earlier version has none.

        Raises RunFolderError where it is broken.
        """
        try:
            parts = json.loads((run_dir / PROFILE).read_text(encoding="utf-8"))
            blocks = tuple(Tally.from_json(block) for block in parts.get("blocks", ()))
            training, validation, test = (Tally.from_json(parts[name]) for name in _PARTS)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunFolderError(
                f"{run_dir / PROFILE} must be the profile of a run, "
                f"take it away to score without one: {type(error).__name__}: {error}"
            ) from error
        return cls(training, validation, test, blocks)


def quantiles(features: Mapping[str, Histogram]) -> dict[str, dict[str, float | None]]:
    """The least value, some quantiles, and the largest value of each feature that has a value."""
    return {
        name: {
            "low": histogram.low,
            **{f"{share:.0%}": histogram.quantile(share) for share in QUANTILES},
            "high": histogram.high,
        }
        for name, histogram in features.items()
        if histogram.total
    }


def tally_texts(
    texts: pa.Array | pa.ChunkedArray, vocabulary: Vocabulary, sequence_length: int
) -> Tally:
    """What `tally_ids` counts of texts, none of them null, that nobody has turned into ids.

    Args:
        texts: Arrow strings.
        vocabulary: of the model.
        sequence_length: words that the model reads.
    """
    tally = Tally()
    for start in range(0, len(texts), TEXTS):
        part = texts[start : start + TEXTS]
        tally_ids(tally, part, *vectorize(part, vocabulary, sequence_length))
    return tally


def tally_ids(
    tally: Tally, texts: pa.Array | pa.ChunkedArray, ids: Tensor, lengths: Tensor
) -> None:
    """Adds texts, as a model reads them: `rows`, `words`, `unknown`, `blank`, `cut`, and their features.

    Args:
        tally: to add to.
        texts: N Arrow strings; those without a word are `blank`.
        ids: (N, L) of `rnnfast.text.vocabulary.vectorize`; of texts of L words or more, `cut`, the first L.
        lengths: (N,) likewise.
    """
    words, unknown = lengths.numpy().copy(), (ids == 0).sum(1).numpy()
    # A text without a word reads as one that is unknown; with a word more, only the latter is two.
    suspects = np.flatnonzero((words == 1) & (unknown == 1))
    longer = pc.binary_join_element_wise(texts.take(pa.array(suspects)), "a", " ")
    blank = suspects[vectorize(longer, NO_WORDS, 2)[1].numpy() == 1]
    words[blank] = unknown[blank] = 0
    characters = pc.utf8_length(texts).to_numpy()
    octets = pc.binary_length(texts).to_numpy()
    tally.counts.update(
        rows=len(texts),
        words=int(words.sum()),
        unknown=int(unknown.sum()),
        blank=len(blank),
        cut=int((words == ids.shape[1]).sum()),
    )
    tally.add("words", words, COUNTS)
    tally.add("characters", characters, COUNTS)
    tally.add("unknown", unknown / np.maximum(words, 1), SHARES)
    tally.add("non_ascii", (octets - characters) / np.maximum(octets, 1), SHARES)


def tally_scores(tally: Tally, scores: np.ndarray, target: Target = PAIR) -> None:
    """Adds what a model gives for rows, by the features that its target has: of two classes the `score`."""
    edges = {
        "shares": SHARES,
        "deviations": DEVIATIONS,
        "places": np.arange(1.0, max(len(target.names), 2)),
    }
    for name, (values, kind) in target.features(scores).items():
        tally.add(name, values, edges[kind])


def level_of(config: WindowConfig) -> int:
    """Readings whose mean is the level from which a model forecasts the next ones; 0: it reads the level itself."""
    from_last = config.normalise in ("last", "mean") or config.cell in LEVEL_FREE
    if config.task != "forecast" or not from_last:
        return 0
    return max(config.horizon, config.period)


def tally_readings(
    tally: Tally,
    values: np.ndarray,
    runs: np.ndarray,
    channels: tuple[str, ...],
    scaler: tuple[np.ndarray, np.ndarray],
    level: int = 0,
) -> None:
    """Adds readings: the count `steps`, and each channel in deviations from the mean.

    With a `level`, each channel is counted as well in deviations from the mean of so many readings before it, as far as
    its run has them: how it moves, wherever it is.

    Args:
        tally: to add to.
        values: (T, C) readings on their grid, all finite.
        runs: (R, 2) the rows to look at.
        channels: names of the first channels; what follows, such as the calendar, is left out.
        scaler: means and deviations, (C,) each.
        level: readings, or 0.
    """
    mean, scale = scaler
    count = len(channels)
    for start, stop in runs.tolist():
        for first in range(start, stop, _READINGS):
            part = (values[first : min(first + _READINGS, stop)] - mean) / scale
            tally.counts["steps"] += len(part)
            for place, name in enumerate(channels):
                tally.add(name, part[:, place], DEVIATIONS)
            if level and first + len(part) - start > level:
                before = values[max(start, first - level) : first + len(part), :count]
                moved = _less_level((before - mean[:count]) / scale[:count], level)
                for place, name in enumerate(channels):
                    tally.add(LEVEL_LESS.format(name), moved[:, place], DEVIATIONS)


def _less_level(values: np.ndarray, level: int) -> np.ndarray:
    """Rows (T, C) less the mean of so many rows before each: (T - level, C)."""
    sums = np.cumsum(np.pad(values.astype(np.float64), ((1, 0), (0, 0))), axis=0)
    result: np.ndarray = values[level:] - (sums[level:-1] - sums[: -1 - level]) / level
    return result


def tally_errors(tally: Tally, targets: tuple[str, ...], errors: np.ndarray) -> None:
    """Adds what forecasts missed the truth by (N, H, D), in deviations of the channel; NaN: not known."""
    for place, name in enumerate(targets):
        own = np.abs(errors[:, :, place]).ravel()
        tally.add(ERROR_OF.format(name), own[np.isfinite(own)], ERRORS)


def tally_forecasts(tally: Tally, targets: tuple[str, ...], outputs: np.ndarray) -> None:
    """Adds forecasts (N, H, D, Q), in deviations of their channel."""
    for place, name in enumerate(targets):
        tally.add(f"forecast of {name}", outputs[:, :, place, 0].ravel(), DEVIATIONS)
