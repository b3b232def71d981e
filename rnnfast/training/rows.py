"""What training needs of the rows to learn from, ``Rows``, and the kinds of rows that there are.

Dimensions: N rows, S ids of all rows together, L tokens or readings of a row in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import Tags
from rnnfast.labels.target import Target
from rnnfast.models.precision import CPU, device_of, moved
from rnnfast.models.texts import PAIR
from rnnfast.models.window_model import WindowModel
from rnnfast.series.windows import Windows
from rnnfast.text.reference import Padding
from rnnfast.training.prediction import BATCH, forecasts, model_outputs
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
        labels: the truth of all texts, (N,) or (N, K), as the target has it.
        width: L, the tokens that a row of a batch is padded to with id 1; None: as long as the longest.
        padding: on which side.
        target: what the labels are.
        weights: of classes; None where a row of each has the same say.
    """

    ids: Tensor
    offsets: Tensor
    labels: Tensor
    width: int | None = None
    padding: Padding = "after"
    target: Target = PAIR
    weights: Tensor | None = None

    unit = "tokens"
    chosen_by = ("loss", -1)

    def __post_init__(self) -> None:
        n = len(self.labels)
        several = isinstance(self.target, Tags)
        if self.ids.ndim != 1 or self.labels.ndim != 1 + several or self.offsets.shape != (n + 1,):
            shapes = [tuple(t.shape) for t in (self.ids, self.offsets, self.labels)]
            wanted = "(N, K)" if several else "(N,)"
            raise ValueError(
                f"ids, offsets, labels must be (S,), (N + 1,), {wanted}, got: {shapes}"
            )
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
        last = len(self.target.names) - 1 if isinstance(self.target, Classes) else 1
        if not isinstance(self.target, Numbers) and (
            self.labels.min() < 0 or self.labels.max() > last
        ):
            known = "0 or 1" if last == 1 else f"from 0 to {last}"
            raise ValueError(f"labels must be {known}, got: {self.labels.unique().tolist()}")

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
        """Ids and truth on the device, lengths on the CPU."""
        own = rows[share]
        ids, lengths = self.take(own, int(self.lengths(rows).max()))
        return moved(ids, device), lengths, moved(self.labels[own], device)

    def loss(self, model: nn.Module, batch: TakenRows) -> Tensor:
        """That of the target: of classes cross entropy in nats."""
        ids, lengths, truth = batch
        return _mean_loss(self, model(ids, lengths), truth)

    def measure(self, model: nn.Module, workers: Workers = ALONE) -> dict[str, float]:
        """``loss``, and of classes ``accuracy``."""
        loss = wrong = 0.0
        # In the order of their lengths, so that little padding is read.
        for rows in (
            self.offsets.diff().argsort(stable=True).split(BATCH)[workers.rank :: workers.count]
        ):
            outputs, truth = model_outputs(model, *self.take(rows)), self.labels[rows]
            loss += float(self.target.losses(outputs.double(), truth).sum())
            wrong += float(self.target.errors(truth.numpy(), self.target.given(outputs)).sum())
        loss, wrong = workers.add_up(loss, wrong)
        return measured_of(self.target, loss / len(self), wrong / len(self))


def _mean_loss(rows: Reviews | LabelledWindows, outputs: Tensor, truth: Tensor) -> Tensor:
    """The mean loss () of outputs, where these are."""
    weights = None if rows.weights is None else moved(rows.weights, outputs.device)
    return rows.target.loss(outputs, truth, weights)


def measured_of(target: Target, loss: float, wrong: float) -> dict[str, float]:
    """``loss``, and of classes ``accuracy``, the share that is not ``wrong``."""
    return {"loss": loss} | ({"accuracy": 1 - wrong} if isinstance(target, Classes) else {})


class _WindowRows:
    """What windows to forecast and windows with labels have in common."""

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
    """Windows of readings, each with its label: the truth of each, (N,) or (N, K), as the target has it."""

    def __init__(
        self, windows: Windows, truth: Tensor, target: Target = PAIR, weights: Tensor | None = None
    ) -> None:
        """``weights`` are those of classes."""
        super().__init__(windows, windows.size)
        self.truth, self.target, self.weights = truth, target, weights
        self.chosen_by = ("accuracy", 1) if isinstance(target, Classes) else ("loss", -1)

    def taken(self, rows: Tensor, share: slice = _ALL, device: torch.device = CPU) -> TakenRows:
        """The windows and their truth."""
        own = rows[share].contiguous()
        return moved(self.windows.take(own), device), moved(self.truth[own], device)

    def loss(self, model: WindowModel, batch: TakenRows) -> Tensor:
        """That of the target: of classes cross entropy in nats."""
        windows, truth = batch
        return _mean_loss(self, model(windows), truth)

    def measure(self, model: WindowModel, workers: Workers = ALONE) -> dict[str, float]:
        """``loss``, and of classes ``accuracy``."""
        loss = wrong = 0.0
        for rows, outputs in forecasts(model, self.windows, workers=workers):
            truth = self.truth[rows]
            loss += float(self.target.losses(outputs, truth).sum())
            wrong += float(self.target.errors(truth.numpy(), self.target.given(outputs)).sum())
        loss, wrong = workers.add_up(loss, wrong)
        return measured_of(self.target, loss / len(self), wrong / len(self))
