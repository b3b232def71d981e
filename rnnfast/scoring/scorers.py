"""The folder that a run leaves, and scoring with it.

This is the one place that knows the folder's format: `model.safetensors` (weights), `config.json`
(what the model is and how it came to be) and, of a model of reviews, `vocabulary.txt` (one word a
line). Nothing in it is
pickled, so a folder from a stranger cannot run code. Other files, such as a report, may lie beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnfast.labels.base import LabelKind
from rnnfast.labels.classes import Classes
from rnnfast.labels.target import Target, classes_of
from rnnfast.models.choices import DeviceChoice, Precision, ScoringPrecision
from rnnfast.models.config import ModelConfig
from rnnfast.models.ensembles import TextEnsemble
from rnnfast.models.folded import FoldedClassifier, why_not
from rnnfast.models.language import LanguageModel
from rnnfast.models.precision import (
    CPU,
    DeviceError,
    autocast_of,
    find_device,
    is_fast,
    precisions,
    running,
)
from rnnfast.models.texts import RecurrentClassifier, WideAndDeep, build_model
from rnnfast.models.window_model import WindowModel
from rnnfast.models.windows import build_window_model
from rnnfast.nn.freezing import Unchanged, freeze
from rnnfast.series.windows import Windows
from rnnfast.text.vocabulary import Vocabulary, vectorize
from rnnfast.training.prediction import BATCH, GPU_BATCH, forecasts, model_outputs
from rnnfast.training.run_folder import (
    CONFIG,
    VOCABULARY,
    WEIGHTS,
    LanguageRun,
    ReviewsRun,
    RunConfig,
    RunFolderError,
    SensorsRun,
    SeriesInfo,
    parse_config,
    read_config,
    read_part,
)
from rnnfast.training.settings import LoopSettings, TrainingSettings, WindowTraining

if TYPE_CHECKING:
    import pyarrow as pa

# Texts that are turned into ids at a time: bounds the memory, and is enough to sort by length.
SCORING_BATCH = 4096


def save_run(
    run_dir: str | Path,
    model: nn.Module,
    vocabulary: Vocabulary,
    *,
    config: ModelConfig,
    training: TrainingSettings,
    labels: Target | Sequence[str],
    data: Mapping[str, Any],
) -> None:
    """Writes what scoring needs into a folder that exists.

    Args:
        run_dir: the folder.
        model: built from `config` for this vocabulary.
        vocabulary: gives the ids.
        config: of the model.
        training: how it was trained.
        labels: what they are, or the names of classes.
        data: what it was trained on, for people to read; serialisable as JSON.
    """
    target = labels if isinstance(labels, LabelKind) else classes_of(labels)
    content = ReviewsRun(
        model=config,
        training=training,
        data=dict(data),
        labels=target.names,
        target=None if isinstance(target, Classes) else target,
    )
    _write(Path(run_dir), model, content)
    vocabulary.save(Path(run_dir) / VOCABULARY)


def save_language_run(
    run_dir: str | Path,
    model: LanguageModel,
    vocabulary: Vocabulary,
    *,
    training: LoopSettings,
    data: Mapping[str, Any],
) -> None:
    """Writes what a classifier starts from into a folder that exists; as `save_run`."""
    content = LanguageRun(kind="language", model=model.config, training=training, data=dict(data))
    _write(Path(run_dir), model, content)
    vocabulary.save(Path(run_dir) / VOCABULARY)


def save_sensors_run(
    run_dir: str | Path,
    model: WindowModel,
    *,
    training: WindowTraining,
    series: SeriesInfo,
    data: Mapping[str, Any],
    target: Target | None = None,
) -> None:
    """Writes what scoring needs into a folder that exists; as `save_run`.

    Without a `target`, and of classes, the labels are those of the series, if it has some.
    """
    known = None if isinstance(target, Classes) else target
    content = SensorsRun(
        kind="sensors",
        model=model.config,
        training=training,
        series=series,
        data=dict(data),
        target=known,
    )
    _write(Path(run_dir), model, content)


def _write(run_dir: Path, model: nn.Module, content: ReviewsRun | SensorsRun | LanguageRun) -> None:
    """Writes weights and config; equal arguments give equal files: no time stamp, no path."""
    # Where the streams of a language model were is of no use to anybody.
    state = {
        name: tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if name != "carried"
    }
    (run_dir / WEIGHTS).write_bytes(safetensors.torch.save(state))
    text = content.model_dump_json(indent=2, exclude=_absent(content))
    (run_dir / CONFIG).write_text(text + "\n", encoding="utf-8")


def _absent(content: ReviewsRun | SensorsRun | LanguageRun) -> dict[str, Any]:
    """What most models have no need of, so that they are written as ever, and keep their digests."""
    if isinstance(content, LanguageRun):
        return {}
    found: dict[str, Any] = {} if content.target is not None else {"target": True}
    usual = {"members": 1, "ngram_counts": False}
    left = {name for name, value in usual.items() if getattr(content.model, name, value) == value}
    return found | ({"model": left} if left else {})


@dataclass(frozen=True, eq=False)
class Scorer:
    """A trained model with all that it needs to score raw texts.

    Attributes:
        model: in evaluation mode.
        vocabulary: gives the ids.
        config: of the model.
        target: what the labels are, which says what a score is: of two classes the probability of the second.
        digest: SHA-256 in hexadecimal of all that decides the scores, but for precision and device.
        precision: what the recurrent layers compute in.
        device: where the model computes.

    Example:
        >>> import tempfile
        >>> from rnnfast.models.config import ModelConfig
        >>> from rnnfast.models.texts import build_model
        >>> config, vocabulary = ModelConfig(hidden_size=4), Vocabulary.build(["good", "bad"], max_tokens=4)
        >>> model, training = build_model(config, len(vocabulary)), TrainingSettings()
        >>> folder = tempfile.mkdtemp()  # here an untrained model; a run's folder otherwise
        >>> save_run(
        ...     folder, model, vocabulary, config=config, training=training, labels=("neg", "pos"), data={}
        ... )
        >>> Scorer.load(folder).score(["a good film"]).shape
        (1,)
    """

    model: nn.Module
    vocabulary: Vocabulary
    config: ModelConfig
    target: Target
    digest: str
    precision: Precision = "fp32"
    device: torch.device = CPU

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.target.names

    @classmethod
    def load(
        cls, run_dir: str | Path, precision: ScoringPrecision = "auto", device: DeviceChoice = "cpu"
    ) -> Scorer:
        """Reads a run's folder.

        Args:
            run_dir: the folder.
            precision: auto: what the folder says, where the device has units for it, or else fp32.
            device: where the model computes.

        Raises:
            DeviceError: there is no such device, or it has not the precision.
            RunFolderError: a file is missing or broken, or the files do not fit together.
        """
        run_dir = Path(run_dir)
        content = parse_config(run_dir, ReviewsRun)
        vocabulary_bytes = read_part(run_dir, VOCABULARY)
        try:
            vocabulary = Vocabulary.load(run_dir / VOCABULARY, content.model.split_by)
        except ValueError as error:
            raise RunFolderError(str(error)) from error
        model, weights = _load_weights(
            run_dir,
            f"{CONFIG} and {VOCABULARY}",
            lambda: build_model(content.model, len(vocabulary), outputs=content.label_kind.outputs),
        )
        # Models that know no other rule than the usual one keep their digests.
        leave = _absent(content)
        if content.model.split_by == "spaces":
            leave.setdefault("model", set()).add("split_by")
        target = content.label_kind
        decisive = content.model_dump_json(
            include={"format", "model", "labels", "target"}, exclude=leave
        )
        digest = _digest(decisive.encode(), vocabulary_bytes, weights)
        how = _how(content, precision, device)
        return cls(model, vocabulary, content.model, target, digest, *how)

    def score(
        self,
        texts: Sequence[str] | pa.Array | pa.ChunkedArray,
        seen: Callable[[Any, Tensor, Tensor], None] | None = None,
    ) -> np.ndarray:
        """What the model gives for N raw texts, none of them null, float32, as the target has it.

        Of two classes the probabilities (N,) of the second, of more, and of tags, those of each (N, K), else the
        numbers (N,).

        Each part of the texts is shown to `seen`, with its ids and lengths.
        """
        parts = []
        for start in range(0, len(texts), SCORING_BATCH):
            part = texts[start : start + SCORING_BATCH]
            ids, lengths = vectorize(
                part,
                self.vocabulary,
                self.config.sequence_length,
                self.config.padding,
                threads=torch.get_num_threads(),
            )
            parts.append(self.target.given(self._outputs(ids, lengths)))
            if seen is not None:
                seen(part, ids, lengths)
        if not parts:
            names = len(self.target.names)
            shape = (0, names) if self.target.outputs > 1 else (0,)
            return np.empty(shape, np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def log_odds(self, texts: Sequence[str], place: int = 1) -> np.ndarray:
        """Log-odds (N,) float64 of a label, ``ln(p / (1 - p))``, for a few raw texts; of numbers the numbers.

        They tell apart what float32 rounds to a probability of 1. `place` is that of the label among all.
        """
        config = self.config
        with torch.inference_mode():
            logits = self.model(
                *vectorize(texts, self.vocabulary, config.sequence_length, config.padding)
            )
        result: np.ndarray = self.target.leaning(logits.double(), place).numpy()
        return result

    @cached_property
    def _network(self) -> nn.Module:
        """What computes, beside n-grams."""
        return self.model.deep if isinstance(self.model, WideAndDeep) else self.model

    @cached_property
    def _folded(self) -> nn.Module | None:
        """The recurrent model with its word vectors and W_ih in one table, made once; None where that cannot be.

        int8 has no table of its own: what is added up by its ids is bfloat16 then.
        """
        network = self._network
        members = network.members if isinstance(network, TextEnsemble) else [network]
        if self.device.type != "cpu" or any(map(why_not, members)):
            return None
        dtype = None if self.precision == "fp32" else torch.bfloat16
        folded = [FoldedClassifier(cast(RecurrentClassifier, each), dtype) for each in members]
        return folded[0] if len(folded) == 1 else TextEnsemble(folded)

    @cached_property
    def _running(self) -> nn.Module:
        """What computes where there is no table, made once."""
        return running(self._network, self.precision, self.device)

    @cached_property
    def _unchanged(self) -> Unchanged:
        return Unchanged(dict(self.model.named_parameters()))

    def _outputs(self, ids: Tensor, lengths: Tensor) -> Tensor:
        changed = self._unchanged.first_changed(dict(self.model.named_parameters()))
        if changed and (self._folded is not None or self._running is not self._network):
            raise RuntimeError(
                f"rnnfast: {changed} must stay as the first scores found it, and changed: load the scorer again"
            )
        if self._folded is not None:
            outputs: Tensor = self._folded(ids, lengths)
        else:
            batch = GPU_BATCH if self.device.type == "cuda" else BATCH
            how = batch, autocast_of(self.precision)
            outputs = model_outputs(self._running, ids, lengths, *how)
        if isinstance(self.model, WideAndDeep):
            outputs = self.model.weighed(self.model.wide(ids, lengths), outputs)
        return outputs


@dataclass(frozen=True, eq=False)
class SensorScorer:
    """A trained model of windows with all that it needs to score raw readings.

    Attributes:
        model: in evaluation mode.
        series: what it reads, and by which rules.
        digest: SHA-256 in hexadecimal of all that decides the scores, but for precision and device.
        target: what the labels are; None of forecasts.
        precision: what the recurrent layers compute in.
        device: where the model computes; `model` itself stays on the CPU.

    Example:
        >>> from rnnfast.models import WindowConfig, build_window_model
        >>> model = build_window_model(WindowConfig(cell="gru"), channels=2, targets=(0,))
        >>> series = SeriesInfo(channels=("pressure", "flow"), targets=("pressure",), step=1_000_000)
        >>> SensorScorer(model.eval(), series, digest="").series.target_places
        (0,)
    """

    model: WindowModel
    series: SeriesInfo
    digest: str
    target: Target | None = None
    precision: Precision = "fp32"
    device: torch.device = CPU

    @classmethod
    def load(
        cls, run_dir: str | Path, precision: ScoringPrecision = "auto", device: DeviceChoice = "cpu"
    ) -> SensorScorer:
        """Reads a run's folder; arguments and errors are those of `Scorer.load`."""
        run_dir = Path(run_dir)
        content = parse_config(run_dir, SensorsRun)
        series, target = content.series, content.label_kind
        outputs = target.window_outputs if target else 0
        model, weights = _load_weights(
            run_dir,
            CONFIG,
            lambda: build_window_model(
                content.model, len(series.channels), series.target_places, outputs
            ),
        )
        decisive = content.model_dump_json(
            include={"format", "model", "series", "target"}, exclude=_absent(content)
        )
        how = _how(content, precision, device)
        return cls(model, series, _digest(decisive.encode(), weights), target, *how)

    def forecasts(self, windows: Windows) -> Iterator[tuple[Tensor, Tensor]]:
        """What the model says of windows, in order: numbers (N,) and outputs (N, ...), on the CPU."""
        return forecasts(self._running, windows, precision=autocast_of(self.precision))

    @cached_property
    def _running(self) -> WindowModel:
        return running(self.model, self.precision, self.device)


def load_scorer(
    run_dir: str | Path, precision: ScoringPrecision = "auto", device: DeviceChoice = "cpu"
) -> Scorer | SensorScorer:
    """Reads a run's folder, of either kind of model; arguments and errors are those of `Scorer.load`."""
    is_of_sensors = isinstance(read_config(run_dir), SensorsRun)
    kind: type[Scorer | SensorScorer] = SensorScorer if is_of_sensors else Scorer
    return kind.load(run_dir, precision, device)


def _how(
    content: RunConfig, precision: ScoringPrecision, choice: DeviceChoice
) -> tuple[Precision, torch.device]:
    """The precision and the device that a scoring gets, as `Scorer.load` says."""
    device = find_device(choice)
    return settled_precision(content, precision, device), device


def settled_precision(
    run: RunConfig, precision: ScoringPrecision, device: torch.device
) -> Precision:
    """What a run is scored in on a device, as `Scorer.load` says, whether this machine has the device or not."""
    if precision == "auto":
        return run.scoring if is_fast(run.scoring, device) else "fp32"
    if precision not in (known := precisions(device)):
        raise DeviceError(f"precision must be {' or '.join(known)} on {device}, got: {precision}")
    return precision


AnyModel = TypeVar("AnyModel", bound=nn.Module)


def _load_weights(
    run_dir: Path, described_by: str, build: Callable[[], AnyModel]
) -> tuple[AnyModel, bytes]:
    weights = read_part(run_dir, WEIGHTS)
    try:
        state = safetensors.torch.load(weights)
        # Without memory, since sizes that the weights have not may be larger than any machine's.
        with torch.device("meta"), _WithoutRandom():
            _require_weights(build().state_dict(), state)
        model = build()
        model.load_state_dict(state)
    except (ValueError, TypeError, OverflowError, RuntimeError, SafetensorError) as error:
        raise RunFolderError(
            f"{run_dir / WEIGHTS} must hold the weights of the model that {described_by} "
            f"describe: {error}"
        ) from error
    model.eval()
    freeze(model)
    return model, weights


class _WithoutRandom(TorchFunctionMode):
    """Where it is active no tensor is filled at random, for which the meta device would load torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func.__name__ in ("normal_", "uniform_"):
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _require_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found:
            raise ValueError(f"{name!r} is {'missing' if name in expected else 'not one of them'}")
        one, other = expected[name], found[name]
        if one.shape != other.shape or one.is_floating_point() != other.is_floating_point():
            raise ValueError(
                f"{name} must be {one.dtype} of {tuple(one.shape)}, "
                f"got {other.dtype} of {tuple(other.shape)}"
            )


def _digest(decisive: bytes, *parts: bytes) -> str:
    digest = hashlib.sha256(decisive)
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
