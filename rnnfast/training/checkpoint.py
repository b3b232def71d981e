"""Where a training stood, in one file that is there whole or not at all; nothing in it is pickled.

A file of safetensors: the tensors, and in its metadata the rest as JSON, the key of the training that it
belongs to, and a digest of both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from rnnfast.training.atomic import write_whole


class CheckpointError(ValueError):
    """A file is not a whole checkpoint, or it is that of another training."""


@dataclass(frozen=True)
class TrainingState:
    """Tensors by name, and what JSON can hold, floats to the last bit."""

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def tensors_of(self, part: str) -> dict[str, Tensor]:
        """Those whose names begin with ``part.``, by the rest of their names."""
        start = f"{part}."
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }


@dataclass(frozen=True)
class Checkpoint:
    """The place of a training's checkpoint.

    Attributes:
        path: the file; its folder must exist.
        key: tells one training from another: a digest of its data, model and settings.
        seconds: from one checkpoint to the next at least, within an epoch; 0 writes one every step.
    """

    path: Path
    key: str
    seconds: float = 30.0

    def write(self, state: TrainingState) -> None:
        """Replace the file. Whenever the process is killed, either the old one is there or the new."""
        metadata = {"key": self.key, "record": json.dumps(state.record), "sha256": _digest(state)}
        tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
        write_whole(self.path, safetensors.torch.save(tensors, metadata))

    def read(self) -> bytes:
        """What the file holds; nothing where there is none."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def parsed(self, data: bytes) -> TrainingState | None:
        """The state that ``read`` gave; None of nothing.

        Raises CheckpointError, with the reason, for anything else than a whole checkpoint of this
        training.
        """
        if not data:
            return None
        try:
            tensors = safetensors.torch.load(data)
            size = int.from_bytes(data[:8], "little")
            metadata = json.loads(data[8 : 8 + size])["__metadata__"]
            state = TrainingState(tensors, json.loads(metadata["record"]))
            key, digest = metadata["key"], metadata["sha256"]
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.path} must be a whole checkpoint: {error!r}") from error
        if key != self.key:
            raise CheckpointError(
                f"{self.path} must be a checkpoint of the training {self.key}, it is of {key}"
            )
        if digest != (found := _digest(state)):
            raise CheckpointError(
                f"{self.path} must be a whole checkpoint: its SHA-256 is {found}, not {digest}"
            )
        return state


def _digest(state: TrainingState) -> str:
    digest = hashlib.sha256(json.dumps(state.record).encode())
    for name, tensor in sorted(state.tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
