"""The names of the files in a run's folder, and what its `config.json` says: all that takes no torch.

`rnnfast.scoring.scorers` reads the rest.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import rnnfast
from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import Tags
from rnnfast.labels.target import Target
from rnnfast.models.choices import Precision
from rnnfast.models.config import ModelConfig
from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.window_config import WindowConfig
from rnnfast.series.calendar_steps import CALENDAR
from rnnfast.training.settings import LoopSettings, TrainingSettings, WindowTraining

WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.txt"
PROFILE = "profile.json"


class RunConfig(BaseModel):
    """What `config.json` says of any run: the model, how it came to be, and the precision that it scores in."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    scoring: Precision = "fp32"
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
    labels: tuple[str, ...]
    target: Numbers | Tags | None = Field(None, discriminator="task")
    """What the labels are, where they are not classes."""

    @property
    def label_kind(self) -> Target:
        """What the labels are."""
        return self.target or Classes(names=self.labels)

    @model_validator(mode="after")
    def _has_classes(self) -> ReviewsRun:
        if self.target is None and len(self.labels) < 2:
            raise ValueError(f"labels must be two names or more, got: {list(self.labels)}")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels must differ, got: {list(self.labels)}")
        return self


class SeriesInfo(BaseModel):
    """What a model of windows reads, and the rules by which it was read.

    `channels` are in the order of the model's, calendar features last. `step` is that of the grid in
    microseconds. `carry` and `sentinels` are those of `rnnfast.series.grid.regular`. `time_format` is the form of the
    time stamps; empty: found in each file. With a `unit` of `rnnfast.series.calendar_steps` the step is one of places,
    whose times go by `anchor`. `nearest` readings are put into the cell that is nearest, else into the one that began
    last.
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
    time_format: str = ""
    unit: Literal["", "month", "business day"] = ""
    anchor: int = 0
    nearest: bool = False

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
    target: Numbers | Tags | None = Field(None, discriminator="task")
    """What the labels are, where they are not the classes of the series."""

    @property
    def label_kind(self) -> Target | None:
        """What the labels are; None of forecasts."""
        return self.target or (Classes(names=self.series.labels) if self.series.labels else None)


class LanguageRun(RunConfig):
    """A run of a language model, which scores nothing: classifiers start from it."""

    kind: Literal["language"]
    model: LanguageConfig
    training: LoopSettings


class RunFolderError(ValueError):
    """A folder does not hold a whole run in a format that this version reads."""


AnyRun = TypeVar("AnyRun", bound=RunConfig)


def read_config(run_dir: str | Path) -> ReviewsRun | SensorsRun:
    """What a run's folder says of itself; raises RunFolderError where that is broken, or a file is missing."""
    run_dir = Path(run_dir)
    try:
        kind = json.loads(read_part(run_dir, CONFIG)).get("kind", "reviews")
    except (ValueError, AttributeError, RecursionError):
        kind = "reviews"  # whose reader says what is wrong
    if kind == "language":
        raise RunFolderError(
            f"{run_dir} must be the folder of a run that scores; it has a language model, which --init of reviews takes"
        )
    is_of_sensors = kind == "sensors"
    for name in (WEIGHTS,) if is_of_sensors else (WEIGHTS, VOCABULARY):
        _require_part(run_dir, name)
    if is_of_sensors:
        return parse_config(run_dir, SensorsRun)
    return parse_config(run_dir, ReviewsRun)


def read_language(run_dir: str | Path) -> LanguageRun:
    """What the folder of a language model says of itself; raises RunFolderError where it is not one, or not whole."""
    run_dir = Path(run_dir)
    for name in (WEIGHTS, VOCABULARY):
        _require_part(run_dir, name)
    return parse_config(run_dir, LanguageRun)


def read_part(run_dir: Path, name: str) -> bytes:
    """The content of a file in a run's folder; raises RunFolderError where it is not there."""
    _require_part(run_dir, name)
    return (run_dir / name).read_bytes()


def _require_part(run_dir: Path, name: str) -> None:
    if not (run_dir / name).exists():
        raise RunFolderError(
            f"{run_dir} must be the folder of a run, with {WEIGHTS}, {CONFIG} and {VOCABULARY}; "
            f"it has no {name}"
        )


def parse_config(run_dir: Path, kind: type[AnyRun]) -> AnyRun:
    """The configuration of a run of that kind; raises RunFolderError where it is missing or broken."""
    path = run_dir / CONFIG
    try:
        return kind.model_validate_json(read_part(run_dir, CONFIG))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise RunFolderError(f"{path}: {where}: {first['msg']}, got: {first['input']!r}") from error
