"""Readings of many devices as they come: of each device only the hidden state is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from rnnfast.models.config import RECURRENT
from rnnfast.models.windows import (
    RecurrentForecaster,
    RecurrentWindowClassifier,
    require_streams,
)
from rnnfast.nn import steps
from rnnfast.nn.freezing import PackedWeights, why_not
from rnnfast.scoring.scorers import SensorScorer

# Devices that are read together: enough for one call to cost next to nothing, few enough for the caches.
_CHUNK = 8192

# Devices that there is room for at first; then it doubles.
FIRST_ROOM = 64


class Stream:
    """Scores readings one at a time; of each device only the hidden state is kept.

    What ``read`` gives is what the model gives for the whole series of the device so far. Each device has a slot, a
    place among the states of all. Who reads many devices at once asks for their slots once, with ``slots``, and then
    calls ``read_slots``, which takes and gives arrays.

    Example:
        >>> from rnnfast.models import WindowConfig, build_window_model
        >>> from rnnfast.training.run_folder import SeriesInfo
        >>> model = build_window_model(WindowConfig(cell="gru", horizon=3), channels=2, targets=(0,))
        >>> series = SeriesInfo(channels=("pressure", "flow"), targets=("pressure",), step=1_000_000)
        >>> stream = Stream(SensorScorer(model.eval(), series, digest=""))
        >>> stream.read({"pump 1": np.array([1.0, 2.0])})["pump 1"].shape  # steps, targets, outputs
        (3, 1, 1)
        >>> slots = stream.slots(["pump 1", "pump 2"])
        >>> stream.read_slots(slots, np.array([[1.0, 2.0], [3.0, 4.0]])).shape
        (2, 3, 1, 1)
    """

    def __init__(self, scorer: SensorScorer) -> None:
        """Raises ValueError for a model that cannot go on from a state, with the reason."""
        config = scorer.model.config
        if config.cell not in RECURRENT:
            raise ValueError(f"cell must be recurrent to stream, got: {config.cell!r}")
        require_streams(config)
        assert isinstance(scorer.model, RecurrentForecaster | RecurrentWindowClassifier)
        rnn = scorer.model.rnn
        reason = why_not(rnn)
        if reason is None and rnn.weight_ih_l0.dtype != torch.float32:
            reason = f"its dtype must be float32, got: {rnn.weight_ih_l0.dtype}"
        if reason is not None:
            raise ValueError(f"the model's recurrent layers cannot stream: {reason}")
        self.model, self.digest = scorer.model, scorer.digest
        self._target = scorer.target
        self._weights = PackedWeights(scorer.model.rnn)
        self._slots: dict[str, int] = {}
        self._parts = 2 if scorer.model.config.cell == "lstm" else 1
        # Of each layer the hidden states (S, W), and of an LSTM the cell states, S being the devices there is room for.
        self._states: list[tuple[Tensor, ...]] = []
        self._make_room(FIRST_ROOM)

    @property
    def states(self) -> dict[str, tuple[Tensor, ...]]:
        """Of each device the hidden state, and of an LSTM the cell state, (layers, W) each."""
        stacked = [torch.stack(part, 1) for part in zip(*self._states, strict=True)]
        return {
            device: tuple(part[slot] for part in stacked) for device, slot in self._slots.items()
        }

    def slots(self, devices: Iterable[str]) -> np.ndarray:
        """The slots (N,) int64 of N devices. A device that is new begins with a state of zeros."""
        places = self._slots
        found = np.fromiter((places.setdefault(each, len(places)) for each in devices), np.int64)
        self._make_room(len(places))
        return found

    def read(self, readings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Reads one reading (C,) of each of some devices, all in one step of the model.

        Channels are in the order of the scorer's `series`; features of the calendar are among them,
        as `rnnfast.series.calendar.calendar_features` gives them.

        Returns of each device its forecasts (H, D, Q) in the units of the readings, or the
        probabilities (K,) of the labels, or the number (1,). Raises ValueError for a reading that is not (C,) or not
        finite, and RuntimeError if the model's weights changed after the stream was made.
        """
        if not readings:
            return {}
        values = list(readings.values())
        try:
            batch = np.stack(values).astype(np.float32)
        except ValueError:  # they differ in shape
            batch = np.empty(0, np.float32)
        if batch.shape != (len(values), self.model.channels) or not np.isfinite(batch).all():
            device, wrong = next(
                (device, reading)
                for device, reading in readings.items()
                if np.shape(reading) != (self.model.channels,) or not np.isfinite(reading).all()
            )
            raise ValueError(
                f"readings of {device!r} must be ({self.model.channels},) and finite, got: {wrong}"
            )
        return dict(zip(readings, self.read_slots(self.slots(readings), batch), strict=True))

    def read_slots(self, slots: np.ndarray, readings: np.ndarray) -> np.ndarray:
        """Reads one reading (C,) of each of N devices, as `read`, for millions of readings a second.

        Args:
            slots: (N,) int64, from `slots`, each once.
            readings: (N, C), of any floating-point type.

        Returns their forecasts (N, H, D, Q) in the units of the readings, or the probabilities (N, K) of the labels,
        float32. Raises ValueError, before any state changes, for slots that no device has or that occur twice, and for
        readings that are not (N, C) or not finite; RuntimeError if the model's weights changed after the stream was
        made.
        """
        places = torch.from_numpy(np.ascontiguousarray(slots, np.int64))
        if places.dim() != 1 or np.shape(readings) != (len(places), self.model.channels):
            raise ValueError(
                f"readings must be ({len(places)}, {self.model.channels}), one for each slot, "
                f"got: {np.shape(readings)}"
            )
        batch = torch.from_numpy(np.ascontiguousarray(readings, np.float32))
        # A sum is finite if all its terms are, and the other way about but for an overflow.
        if not bool(batch.sum(dtype=torch.float64).isfinite()):
            row = int((~batch.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"readings must be finite, got in row {row}: {readings[row]}")
        try:
            steps.check_slots(places, len(self._slots))
        except RuntimeError as error:
            raise ValueError(str(error).removeprefix("rnnfast: ")) from None
        self._weights.check(self.model.rnn)
        results = [
            self._read(batch[start : start + _CHUNK], places[start : start + _CHUNK])
            for start in range(0, max(1, len(places)), _CHUNK)
        ]
        result: np.ndarray = (results[0] if len(results) == 1 else torch.cat(results)).numpy()
        return result

    def _read(self, batch: Tensor, slots: Tensor) -> Tensor:
        config = self.model.config
        with torch.inference_mode():
            if (
                config.form == "recursive"
            ):  # its forecasts go through the layers, without leaving a trace
                output = self._step_apart(batch, slots)
            else:
                output, _ = self.model.step(batch, slots, self._step_in_place)
            if config.task == "forecast":
                return self.model.raw(output)
            assert self._target is not None
            given = torch.from_numpy(self._target.given(output))
            return given if given.ndim == 2 else given[:, None]

    def _step_in_place(self, input: Tensor, slots: Any) -> tuple[Tensor, Any]:
        """The layers, from the states in their slots to those after them."""
        rows = input[:, 0].contiguous()
        for weights, states in zip(self._weights.steps, self._states, strict=True):
            rows = steps.step_slots(weights, rows, states, slots)
        return rows[:, None], slots

    def _step_apart(self, batch: Tensor, slots: Tensor) -> Tensor:
        """The whole model, on a copy of the states."""
        before = tuple(
            torch.stack([each[slots] for each in part]) for part in zip(*self._states, strict=True)
        )
        output, after = self.model.step(batch, before if self._parts == 2 else before[0])
        for part, whole in enumerate(after if self._parts == 2 else (after,)):
            for states, new in zip(self._states, whole, strict=True):
                states[part][slots] = new
        return output

    def _make_room(self, devices: int) -> None:
        rnn = self.model.rnn
        room = len(self._states[0][0]) if self._states else 0
        if devices <= room:
            return
        room = max(devices, 2 * room)
        grown = [
            tuple(torch.zeros(room, rnn.hidden_size) for _ in range(self._parts))
            for _ in range(rnn.num_layers)
        ]
        for new, old in zip(grown, self._states, strict=False):
            for to, from_ in zip(new, old, strict=True):
                to[: len(from_)] = from_
        self._states = grown

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
        self._slots, self._states = {}, []
        self._make_room(max(FIRST_ROOM, len(states)))
        slots = torch.from_numpy(self.slots(states))
        for part, whole in enumerate(zip(*states.values(), strict=True)):
            for layer, of_all in zip(self._states, torch.stack(whole, 1), strict=True):
                layer[part][slots] = of_all
