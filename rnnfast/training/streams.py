"""Texts one after the other, as a language model reads them: in parallel streams, a window of each a step.

Dimensions: S ids of all texts together, each text ended by id 1; T words of a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rnnfast.models.precision import CPU, device_of, moved
from rnnfast.training.rows import TakenRows
from rnnfast.training.workers import ALONE, Workers

_STREAMS = 64  # that texts are measured in
_WHOLE = slice(None)


class TextStream:
    """All ids of the texts in a ring, cut into windows; which may lie in a file mapped into memory.

    A row is a window, its number the place of its first id. Every epoch begins at another place. Of ``size`` streams
    each reads its part of the ring from front to back, one window a step, so that the state in which a window ends
    is that in which the next one begins.

    Example:
        >>> stream = TextStream(torch.tensor([2, 3, 1, 2, 1, 4, 5, 1], dtype=torch.int32), window=4)
        >>> len(stream), stream.taken(torch.tensor([4]))[0].tolist()
        (2, [[1, 4, 5, 1, 2]])
    """

    unit = "tokens"
    chosen_by = ("loss", -1)

    def __init__(self, ids: Tensor, window: int, seed: int = 0) -> None:
        """``ids`` (S,) int32; ``seed`` is that of what each step draws."""
        if ids.ndim != 1 or len(ids) < 2:
            raise ValueError(f"ids must be (S,), at least 2 of them, got: {tuple(ids.shape)}")
        self.ids, self.window, self.seed = ids, min(window, len(ids) - 1), seed

    @property
    def units(self) -> int:
        """The words of all texts."""
        return len(self) * self.window

    def __len__(self) -> int:
        """Windows; what is left of the ring is not read in this epoch."""
        return len(self.ids) // self.window

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
        """The next window of every stream. Streams are of one length, or the first ones are longer by a window."""
        first = int(torch.randint(len(self.ids), (), generator=shuffle))
        size = min(size, len(self))
        whole, more = divmod(len(self), size)
        streams = torch.arange(size)
        starts = streams * whole + streams.clamp(max=more)
        for step in range(whole + bool(more)):
            there = starts if step < whole else starts[:more]
            yield (first + (there + step) * self.window) % len(self.ids)

    def taken(self, rows: Tensor, share: slice = _WHOLE, device: torch.device = CPU) -> TakenRows:
        """Ids (B, T + 1), the places of the streams, and the seed of the step."""
        places = rows[share][:, None] + torch.arange(self.window + 1)
        ids = self.ids[places % len(self.ids)]
        streams = torch.arange(len(rows))[share]
        seed = torch.tensor(self.seed * 1_000_003 + int(rows[0]))
        return moved(ids, device), moved(streams, device), seed

    def loss(self, model: Any, batch: TakenRows) -> Tensor:
        """The mean loss of the words that come next, in nats."""
        ids, streams, seed = batch
        loss: Tensor = model.loss(ids, streams, int(seed))
        return loss

    def measure(self, model: Any, workers: Workers = ALONE) -> dict[str, float]:
        """``loss``, in nats a word, among all words of the vocabulary; every stream begins anew."""
        was_training = model.training
        model.eval()
        count = min(_STREAMS, len(self))
        steps = len(self) // count
        own = torch.arange(count)[workers.rank :: workers.count]
        total, device = 0.0, device_of(model)
        if len(own):
            state = model.start_state(len(own))
            for step in range(steps):
                starts = (own * steps + step) * self.window
                places = starts[:, None] + torch.arange(self.window + 1)
                ids = moved(self.ids[places % len(self.ids)], device)
                loss, state = model.exact_loss(ids, state)
                total += float(loss)
        model.train(was_training)
        [total] = workers.add_up(total)
        return {"loss": total / (count * steps * self.window)}
