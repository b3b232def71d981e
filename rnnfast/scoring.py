"""The folder that a run leaves, and scoring with it.

This is the one place that knows the folder's format: `model.safetensors` (weights), `config.json`
(what the model is and how it came to be) and, of a model of reviews, `vocabulary.txt` (one word a
line). Nothing in it is
pickled, so a folder from a stranger cannot run code. Other files, such as a report, may lie beside.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import rnnfast
from rnnfast.folded import FoldedClassifier, why_not
from rnnfast.models import ModelConfig, RecurrentClassifier, build_model
from rnnfast.prediction import predict
from rnnfast.series import CALENDAR
from rnnfast.text import Vocabulary, vectorize
from rnnfast.training import TrainingSettings, WindowTraining
from rnnfast.window_models import (
    RecurrentForecaster,
    RecurrentWindowClassifier,
    WindowConfig,
    WindowModel,
    build_window_model,
    require_streams,
)

if TYPE_CHECKING:
    import pyarrow as pa

WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.txt"
# Texts that are turned into ids at a time: bounds the memory, and is enough to sort by length.
CHUNK = 4096


class RunConfig(BaseModel):
    """What `config.json` says of any run: the model, and how it came to be."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    data: dict[str, Any]
    versions: dict[str, str] = Field(
        default_factory=lambda: {
            "rnnfast": rnnfast.__version__,
            "torch": version("torch"),
            "python": platform.python_version(),
        }
    )


class ReviewsRun(RunConfig):
    """A run of a model of reviews."""

    kind: Literal["reviews"] = "reviews"
    model: ModelConfig
    training: TrainingSettings
    labels: tuple[str, str]


class SeriesInfo(BaseModel):
    """What a model of windows reads, and the rules by which it was read.

    `channels` are in the order of the model's, calendar features last. `step` is that of the grid in
    microseconds. `carry` and `sentinels` are those of `rnnfast.series.regular`.
    """

    model_config = ConfigDict(frozen=True)

    channels: tuple[str, ...]
    targets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    step: int
    carry: int = 0
    sentinels: tuple[float, ...] = ()
    order: Literal["time", "file"] = "time"
    standardised: bool = False
    time_column: str = "time"
    group_column: str | None = None

    @property
    def calendar(self) -> bool:
        """Whether the time of day, week and year is read beside the readings."""
        return CALENDAR[0] in self.channels

    @property
    def own(self) -> tuple[str, ...]:
        """The channels that are read, without those of the calendar."""
        return tuple(name for name in self.channels if name not in CALENDAR)

    @property
    def target_places(self) -> tuple[int, ...]:
        """Where the targets are among the channels."""
        return tuple(self.channels.index(name) for name in self.targets)


class SensorsRun(RunConfig):
    """A run of a model of windows of readings."""

    kind: Literal["sensors"]
    model: WindowConfig
    training: WindowTraining
    series: SeriesInfo


class RunFolderError(ValueError):
    """A folder does not hold a whole run in a format that this version reads."""


def save_run(
    run_dir: str | Path,
    model: nn.Module,
    vocabulary: Vocabulary,
    *,
    config: ModelConfig,
    training: TrainingSettings,
    labels: tuple[str, str],
    data: Mapping[str, Any],
) -> None:
    """Writes what scoring needs into a folder that exists.

    Args:
        run_dir: the folder.
        model: built from `config` for this vocabulary.
        vocabulary: gives the ids.
        config: of the model.
        training: how it was trained.
        labels: names of label 0 and label 1.
        data: what it was trained on, for people to read; serialisable as JSON.
    """
    content = ReviewsRun(model=config, training=training, data=dict(data), labels=labels)
    _write(Path(run_dir), model, content)
    vocabulary.save(Path(run_dir) / VOCABULARY)


def save_sensors_run(
    run_dir: str | Path,
    model: WindowModel,
    *,
    training: WindowTraining,
    series: SeriesInfo,
    data: Mapping[str, Any],
) -> None:
    """Writes what scoring needs into a folder that exists; as `save_run`."""
    _write(
        Path(run_dir),
        model,
        SensorsRun(
            kind="sensors", model=model.config, training=training, series=series, data=dict(data)
        ),
    )


def _write(run_dir: Path, model: nn.Module, content: RunConfig) -> None:
    """Writes weights and config; equal arguments give equal files: no time stamp, no path."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (run_dir / WEIGHTS).write_bytes(safetensors.torch.save(state))
    (run_dir / CONFIG).write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Scorer:
    """A trained model with all that it needs to score raw texts.

    Attributes:
        model: in evaluation mode.
        vocabulary: gives the ids.
        config: of the model.
        labels: names of label 0 and label 1; a score is the probability of label 1.
        digest: SHA-256 in hexadecimal of all that decides the scores.
    """

    model: nn.Module
    vocabulary: Vocabulary
    config: ModelConfig
    labels: tuple[str, str]
    digest: str

    @classmethod
    def load(cls, run_dir: str | Path) -> Scorer:
        """Reads a run's folder.

        Raises:
            RunFolderError: a file is missing or broken, or the files do not fit together.
        """
        run_dir = Path(run_dir)
        content = _parse_config(run_dir, ReviewsRun)
        vocabulary_bytes = _read(run_dir, VOCABULARY)
        try:
            vocabulary = Vocabulary.load(run_dir / VOCABULARY)
        except ValueError as error:
            raise RunFolderError(str(error)) from error
        model, weights = _load_weights(
            run_dir,
            f"{CONFIG} and {VOCABULARY}",
            lambda: build_model(content.model, len(vocabulary)),
        )
        decisive = content.model_dump_json(include={"format", "model", "labels"})
        digest = _digest(decisive.encode(), vocabulary_bytes, weights)
        return cls(model, vocabulary, content.model, content.labels, digest)

    def score(
        self,
        texts: Sequence[str] | pa.Array | pa.ChunkedArray,
        seen: Callable[[Any, Tensor, Tensor], None] | None = None,
    ) -> np.ndarray:
        """Probabilities (N,) float32 of label 1 for N raw texts, none of them null.

        Each part of the texts is shown to `seen`, with its ids and lengths.
        """
        scores = np.empty(len(texts), np.float32)
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            ids, lengths = vectorize(
                part,
                self.vocabulary,
                self.config.sequence_length,
                self.config.padding,
                threads=torch.get_num_threads(),
            )
            scores[start : start + CHUNK] = self._probabilities(ids, lengths)
            if seen is not None:
                seen(part, ids, lengths)
        return scores

    def log_odds(self, texts: Sequence[str]) -> np.ndarray:
        """Log-odds (N,) float64 of label 1, ``ln(p / (1 - p))``, for a few raw texts.

        They tell apart what float32 rounds to a probability of 1.
        """
        config = self.config
        with torch.inference_mode():
            logits = self.model(
                *vectorize(texts, self.vocabulary, config.sequence_length, config.padding)
            )
        return logits.double().numpy()

    @cached_property
    def _folded(self) -> FoldedClassifier | None:
        """The model with its word vectors and W_ih in one table, made once; None where that cannot be."""
        return (
            None if why_not(self.model) else FoldedClassifier(cast(RecurrentClassifier, self.model))
        )

    def _probabilities(self, ids: Tensor, lengths: Tensor) -> np.ndarray:
        if self._folded is None:
            return predict(self.model, ids, lengths)
        # In float64: torch's float32 sigmoid gives the last of many numbers another last bit than the others.
        return self._folded(ids, lengths).double().sigmoid().float().numpy()


@dataclass(frozen=True, eq=False)
class SensorScorer:
    """A trained model of windows with all that it needs to score raw readings.

    Attributes:
        model: in evaluation mode.
        series: what it reads, and by which rules.
        digest: SHA-256 in hexadecimal of all that decides the scores.
    """

    model: WindowModel
    series: SeriesInfo
    digest: str

    @classmethod
    def load(cls, run_dir: str | Path) -> SensorScorer:
        """Reads a run's folder; raises RunFolderError as `Scorer.load`."""
        run_dir = Path(run_dir)
        content = _parse_config(run_dir, SensorsRun)
        series = content.series
        model, weights = _load_weights(
            run_dir,
            CONFIG,
            lambda: build_window_model(
                content.model, len(series.channels), series.target_places, len(series.labels)
            ),
        )
        decisive = content.model_dump_json(include={"format", "model", "series"})
        return cls(model, series, _digest(decisive.encode(), weights))


class Stream:
    """Scores readings one at a time; of each device only the hidden state is kept.

    What ``read`` gives is what the model gives for the whole series of the device so far.
    """

    def __init__(self, scorer: SensorScorer) -> None:
        """Raises ValueError for a model that cannot go on from a state, with the reason."""
        if not isinstance(scorer.model, RecurrentForecaster | RecurrentWindowClassifier):
            raise ValueError(f"cell must be recurrent to stream, got: {scorer.model.config.cell!r}")
        require_streams(scorer.model.config)
        self.model, self.digest = scorer.model, scorer.digest
        self.states: dict[str, tuple[Tensor, ...]] = {}
        """Of each device the hidden state, and of an LSTM the cell state, (layers, W) each."""

    def read(self, readings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Reads one reading (C,) of each of some devices, all in one step of the model.

        Channels are in the order of the scorer's `series`; features of the calendar are among them,
        as `rnnfast.series.calendar_features` gives them.

        Returns of each device its forecasts (H, D, Q) in the units of the readings, or the
        probabilities (K,) of the labels. Raises ValueError for a reading that is not (C,) or not
        finite.
        """
        for device, reading in readings.items():
            if np.shape(reading) != (self.model.channels,) or not np.isfinite(reading).all():
                raise ValueError(
                    f"readings of {device!r} must be ({self.model.channels},) and finite, "
                    f"got: {reading}"
                )
        batch = torch.from_numpy(np.stack(list(readings.values())).astype(np.float32))
        shape = self.model.rnn.num_layers, self.model.rnn.hidden_size
        count = 2 if self.model.config.cell == "lstm" else 1
        blank = (torch.zeros(shape),) * count
        kept = [self.states.get(device, blank) for device in readings]
        before = tuple(torch.stack(each, 1) for each in zip(*kept, strict=True))
        with torch.inference_mode():
            output, after = self.model.step(batch, before if count == 2 else before[0])
            forecast = self.model.config.task == "forecast"
            result = self.model.raw(output) if forecast else output.softmax(1)
        parts = after if count == 2 else (after,)
        for place, device in enumerate(readings):
            self.states[device] = tuple(each[:, place].clone() for each in parts)
        return dict(zip(readings, result.numpy(), strict=True))

    def save(self, path: str | Path) -> None:
        """Writes the states of all devices."""
        tensors = {
            f"{part}:{device}": tensor
            for device, state in self.states.items()
            for part, tensor in enumerate(state)
        }
        data = safetensors.torch.save(tensors, {"model": self.digest})
        Path(path).write_bytes(data)

    def load(self, path: str | Path) -> None:
        """Takes up the states that `save` wrote; raises ValueError for those of another model."""
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("model") != self.digest:
                raise ValueError(f"{path} must hold the states of this model, it does not")
            states: dict[str, list[Tensor]] = {}
            for name in sorted(file.keys()):
                states.setdefault(name.partition(":")[2], []).append(file.get_tensor(name))
        self.states = {device: tuple(parts) for device, parts in states.items()}


def load_scorer(run_dir: str | Path) -> Scorer | SensorScorer:
    """Reads a run's folder, of either kind of model; raises RunFolderError as `Scorer.load`."""
    try:
        kind = json.loads(_read(Path(run_dir), CONFIG)).get("kind", "reviews")
    except (ValueError, AttributeError):
        kind = "reviews"  # whose reader says what is wrong
    return SensorScorer.load(run_dir) if kind == "sensors" else Scorer.load(run_dir)


Model = TypeVar("Model", bound=nn.Module)
Run = TypeVar("Run", bound=RunConfig)


def _load_weights(
    run_dir: Path, described_by: str, build: Callable[[], Model]
) -> tuple[Model, bytes]:
    weights = _read(run_dir, WEIGHTS)
    try:
        model = build()
        model.load_state_dict(safetensors.torch.load(weights))
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise RunFolderError(
            f"{run_dir / WEIGHTS} must hold the weights of the model that {described_by} "
            f"describe: {error}"
        ) from error
    model.eval()
    return model, weights


def _digest(decisive: bytes, *parts: bytes) -> str:
    digest = hashlib.sha256(decisive)
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _read(run_dir: Path, name: str) -> bytes:
    try:
        return (run_dir / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunFolderError(
            f"{run_dir} must be the folder of a run, with {WEIGHTS}, {CONFIG} and {VOCABULARY}; "
            f"it has no {name}"
        ) from error


def _parse_config(run_dir: Path, kind: type[Run]) -> Run:
    path = run_dir / CONFIG
    try:
        return kind.model_validate_json(_read(run_dir, CONFIG))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise RunFolderError(f"{path}: {where}: {first['msg']}, got: {first['input']!r}") from error
