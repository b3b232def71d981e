"""What training needs of the rows to learn from, ``Rows``, and the kinds of rows that there are.

Dimensions: N rows, S ids of all rows together, L tokens or readings of a row in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnfast.models.precision import CPU, device_of, moved
from rnnfast.models.window_model import WindowModel
from rnnfast.series.windows import Windows
from rnnfast.text.reference import Padding
from rnnfast.training.prediction import BATCH, forecasts, predict
from rnnfast.training.workers import ALONE, Workers

# Batches that are cut from rows of like length: so many are sorted by length at a time.
_SORTED_BATCHES = 32
_ALL = slice(None)

TakenRows = tuple[Tensor, ...]
"""What ``taken`` makes of some rows, for ``loss``."""


class Rows(Protocol):
    """What the training loop needs of the rows to learn from, or to choose the epoch by."""

    unit: str
    """What the rows are made of, in the plural; the history has its number a second."""
    chosen_by: tuple[str, int]
    """The figure of ``measure`` that chooses the epoch, and 1 where more of it is better, else -1."""

    @property
    def units(self) -> int:
        """How many of these all rows have together."""

    def __len__(self) -> int: ...

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
        """Every row once, by number, so many at a time, in an order of its own each time.

        All that is drawn from ``shuffle`` is drawn before the first batch.
        """

    def taken(self, rows: Tensor, share: slice = _ALL, device: torch.device = CPU) -> TakenRows:
        """A share of these rows on a device, which are read as the whole batch would be; nothing is drawn."""

    def loss(self, model: Any, batch: TakenRows) -> Tensor:
        """The mean loss of a model on rows that were taken to its device."""

    def measure(self, model: Any, workers: Workers = ALONE) -> dict[str, float]:
        """Figures over all rows, ``loss`` among them; the model may be in either mode.

        Several workers share the rows, and each gets the figures of all.
        """


@dataclass(frozen=True)
class Reviews:
    """Labelled texts, which may lie in files mapped into memory: only the ids of a batch are copied.

    Beside the ids there are some 20 bytes a row in memory: its offset, its label, and its place in the
    order of an epoch.

    Attributes:
        ids: (S,) int32, the tokens of all texts, one after the other.
        offsets: (N + 1,) int64, where each text begins in them, and where the last one ends.
        labels: (N,) integers, 0 or 1.
        width: L, the tokens that a row of a batch is padded to with id 1; None: as long as the longest.
        padding: on which side.
    """

    ids: Tensor
    offsets: Tensor
    labels: Tensor
    width: int | None = None
    padding: Padding = "after"

    unit = "tokens"
    chosen_by = ("loss", -1)

    def __post_init__(self) -> None:
        n = self.labels.numel()
        if self.ids.ndim != 1 or self.labels.ndim != 1 or self.offsets.shape != (n + 1,):
            shapes = [tuple(t.shape) for t in (self.ids, self.offsets, self.labels)]
            raise ValueError(f"ids, offsets, labels must be (S,), (N + 1,), (N,), got: {shapes}")
        if n == 0:
            raise ValueError("labels must be of at least one row, got none")
        lengths = self.offsets.diff()
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.ids) or lengths.min() < 1:
            raise ValueError(
                f"offsets must rise from 0 to the {len(self.ids)} ids, got: {self.offsets}"
            )
        if self.width is not None and lengths.max() > self.width:
            raise ValueError(
                f"width must be that of the longest row at least, {lengths.max()}, got: {self.width}"
            )
        if self.labels.min() < 0 or self.labels.max() > 1:
            raise ValueError(f"labels must be 0 or 1, got: {self.labels.unique().tolist()}")

    @property
    def units(self) -> int:
        """The words of all texts."""
        return len(self.ids)

    def __len__(self) -> int:
        return len(self.labels)

    def lengths(self, rows: Tensor) -> Tensor:
        """How many tokens these rows have, (N,) int64."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def take(self, rows: Tensor, width: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids (N, L) and lengths (N,) of these rows, padded; ``width`` is L where no other is set."""
        lengths = self.lengths(rows)
        width = self.width or width or int(lengths.max())
        places = torch.arange(width).expand(len(rows), -1)
        if self.padding == "before":
            places = places - (width - lengths)[:, None]
        inside = (places >= 0) & (places < lengths[:, None])
        # Of the padding the first token is read, which is there.
        ids = self.ids[self.offsets[rows][:, None] + places.where(inside, 0)]
        return ids.where(inside, 1), lengths

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
        """Random batches of like length, which leaves little padding to pool."""
        order = torch.randperm(len(self), generator=shuffle)
        for pool in order.split(size * _SORTED_BATCHES):
            pool.copy_(pool[self.lengths(pool).argsort(stable=True)])
        starts = torch.randperm(-(-len(self) // size), generator=shuffle) * size
        for start in starts.tolist():
            yield order[start : start + size]

    def taken(self, rows: Tensor, share: slice = _ALL, device: torch.device = CPU) -> TakenRows:
        """Ids and labels on the device, lengths on the CPU."""
        own = rows[share]
        ids, lengths = self.take(own, int(self.lengths(rows).max()))
        return moved(ids, device), lengths, moved(self.labels[own].float(), device)

    def loss(self, model: nn.Module, batch: TakenRows) -> Tensor:
        """Cross entropy in nats."""
        ids, lengths, labels = batch
        return F.binary_cross_entropy_with_logits(model(ids, lengths), labels)

    def measure(self, model: nn.Module, workers: Workers = ALONE) -> dict[str, float]:
        """``loss`` in nats and ``accuracy``."""
        loss = right = 0.0
        # In the order of their lengths, so that little padding is read.
        for rows in (
            self.offsets.diff().argsort(stable=True).split(BATCH)[workers.rank :: workers.count]
        ):
            scores = predict(model, *self.take(rows)).astype(np.float64)
            probability = np.clip(scores, 1e-7, 1 - 1e-7)
            label = self.labels[rows].numpy()
            loss -= float(np.log(np.where(label == 1, probability, 1 - probability)).sum())
            right += int(((probability >= 0.5) == label).sum())
        loss, right = workers.add_up(loss, right)
        return {"loss": loss / len(self), "accuracy": right / len(self)}


class _WindowRows:
    """What windows to forecast and windows to classify have in common."""

    unit = "readings"

    def __init__(self, windows: Windows, size: int) -> None:
        """``size`` is the number of readings of a window that the model reads."""
        if len(windows) == 0:
            raise ValueError("windows must be at least one, got none")
        self.windows = windows
        self.units = len(windows) * size

    def __len__(self) -> int:
        return len(self.windows)

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
        """Random batches."""
        yield from torch.randperm(len(self), generator=shuffle).split(size)


class Futures(_WindowRows):
    """Windows of readings to forecast from, each with the readings that come after."""

    chosen_by = ("loss", -1)

    def __init__(self, windows: Windows, model: WindowModel, kind: str = "mse") -> None:
        """``windows`` have the readings that the model reads and those that it foretells.

        ``kind`` is the loss, a value of ``WindowTraining.loss``.
        """
        super().__init__(windows, model.config.lookback)
        self.targets, self.past, self.kind = model.targets, model.config.lookback, kind

    def taken(self, rows: Tensor, share: slice = _ALL, device: torch.device = CPU) -> TakenRows:
        """The windows."""
        return (moved(self.windows.take(rows[share].contiguous()), device),)

    def loss(self, model: WindowModel, batch: TakenRows) -> Tensor:
        """The loss of the forecasts, and the pinball loss of their quantiles, if they have some."""
        (taken,) = batch
        return self._loss(model, model(taken[:, : self.past]), taken)

    def measure(self, model: WindowModel, workers: Workers = ALONE) -> dict[str, float]:
        """``loss``: the mean of what training makes small."""
        total = 0.0
        for rows, forecast in forecasts(model, self.windows, workers=workers):
            taken = moved(self.windows.take(rows), device_of(model))
            total += self._loss(model, forecast.to(taken.device), taken).item() * len(rows)
        return {"loss": workers.add_up(total)[0] / len(self)}

    def _loss(self, model: WindowModel, forecast: Tensor, taken: Tensor) -> Tensor:
        truth = model.standardised(taken[:, self.past :])[..., self.targets]
        return model.loss(forecast, truth, self.kind)


class LabelledWindows(_WindowRows):
    """Windows of readings, each with its label; labels are those of their runs (R,) int64."""

    chosen_by = ("accuracy", 1)

    def __init__(self, windows: Windows, labels: Tensor) -> None:
        super().__init__(windows, windows.size)
        self.labels = labels

    def taken(self, rows: Tensor, share: slice = _ALL, device: torch.device = CPU) -> TakenRows:
        """The windows and their labels."""
        own = rows[share].contiguous()
        labels = self.labels[self.windows.run_of(own)]
        return moved(self.windows.take(own), device), moved(labels, device)

    def loss(self, model: WindowModel, batch: TakenRows) -> Tensor:
        """Cross entropy in nats."""
        windows, labels = batch
        return F.cross_entropy(model(windows), labels)

    def measure(self, model: WindowModel, workers: Workers = ALONE) -> dict[str, float]:
        """``loss`` in nats and ``accuracy``."""
        loss = right = 0.0
        for rows, logits in forecasts(model, self.windows, workers=workers):
            labels = self.labels[self.windows.run_of(rows)]
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum())
        loss, right = workers.add_up(loss, right)
        return {"loss": loss / len(self), "accuracy": right / len(self)}
