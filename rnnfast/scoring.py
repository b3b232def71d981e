"""The folder that a run leaves, and scoring with it.

This is the one place that knows the folder's format: `model.safetensors` (weights), `config.json`
(what the model is and how it came to be) and `vocabulary.txt` (one word a line). Nothing in it is
pickled, so a folder from a stranger cannot run code. Other files, such as a report, may lie beside.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import nn

import rnnfast
from rnnfast.models import ModelConfig, build_model
from rnnfast.text import Vocabulary, vectorize
from rnnfast.training import TrainingSettings, predict

if TYPE_CHECKING:
    import pyarrow as pa

WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.txt"
# Texts that are turned into ids at a time: bounds the memory, and is enough to sort by length.
CHUNK = 4096


class RunConfig(BaseModel):
    """What `config.json` says: the model, and how it came to be."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    model: ModelConfig
    training: TrainingSettings
    data: dict[str, Any]
    labels: tuple[str, str]
    versions: dict[str, str]


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

    Equal arguments give equal files: no time stamp or path of this machine is added.

    Args:
        run_dir: the folder.
        model: built from `config` for this vocabulary.
        vocabulary: gives the ids.
        config: of the model.
        training: how it was trained.
        labels: names of label 0 and label 1.
        data: what it was trained on, for people to read; serialisable as JSON.
    """
    run_dir = Path(run_dir)
    content = RunConfig(
        model=config,
        training=training,
        data=dict(data),
        labels=labels,
        versions={
            "rnnfast": rnnfast.__version__,
            "torch": version("torch"),
            "python": platform.python_version(),
        },
    )
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (run_dir / WEIGHTS).write_bytes(safetensors.torch.save(state))
    (run_dir / CONFIG).write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")
    vocabulary.save(run_dir / VOCABULARY)


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
        config_bytes, vocabulary_bytes, weights = (
            _read(run_dir, name) for name in (CONFIG, VOCABULARY, WEIGHTS)
        )
        content = _parse_config(config_bytes, run_dir / CONFIG)
        try:
            vocabulary = Vocabulary.load(run_dir / VOCABULARY)
        except ValueError as error:
            raise RunFolderError(str(error)) from error
        try:
            model = build_model(content.model, len(vocabulary))
            model.load_state_dict(safetensors.torch.load(weights))
        except (ValueError, RuntimeError, SafetensorError) as error:
            raise RunFolderError(
                f"{run_dir / WEIGHTS} must hold the weights of the model that {CONFIG} and "
                f"{VOCABULARY} describe: {error}"
            ) from error
        model.eval()
        decisive = content.model_dump_json(include={"format", "model", "labels"})
        digest = hashlib.sha256(decisive.encode())
        for part in (vocabulary_bytes, weights):
            digest.update(hashlib.sha256(part).digest())
        return cls(model, vocabulary, content.model, content.labels, digest.hexdigest())

    def score(self, texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Probabilities (N,) float32 of label 1 for N raw texts, none of them null."""
        scores = np.empty(len(texts), np.float32)
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            strings = part if isinstance(part, Sequence) else part.to_pylist()
            ids, lengths = vectorize(
                strings, self.vocabulary, self.config.sequence_length, self.config.padding
            )
            scores[start : start + CHUNK] = predict(self.model, ids, lengths)
        return scores


def _read(run_dir: Path, name: str) -> bytes:
    try:
        return (run_dir / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunFolderError(
            f"{run_dir} must be the folder of a run, with {WEIGHTS}, {CONFIG} and {VOCABULARY}; "
            f"it has no {name}"
        ) from error


def _parse_config(content: bytes, path: Path) -> RunConfig:
    try:
        return RunConfig.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise RunFolderError(f"{path}: {where}: {first['msg']}, got: {first['input']!r}") from error
