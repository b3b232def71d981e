"""Several processes that train one model: who takes which rows, and what they tell each other.

Every worker has the whole model and takes a share of each batch. Gradients are added up with the weight of
their rows, and random numbers are drawn for the whole batch by everyone, so that the course of training does
not depend on how many share it, but for the order in which floating-point numbers are added. All of it is
on the CPU, over ``torch.distributed``, whose default group must be there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that draw: their first argument is a shape, or a tensor of the shape and kind to draw.
_DRAWN_BY_SHAPE = {"aten.rand.default", "aten.randn.default"}
_DRAWN_LIKE = {"aten.rand_like.default", "aten.randn_like.default"}
_DRAWN_IN_PLACE = {"aten.bernoulli_.float", "aten.uniform_.default", "aten.normal_.default"}


@dataclass(frozen=True)
class Workers:
    """This process among those that train together; by default there is no other.

    Attributes:
        rank: of this one, from 0.
        count: of all.
        writes: whether it is the one that writes files on its machine.
    """

    rank: int = 0
    count: int = 1
    writes: bool = True

    def share(self, rows: int) -> tuple[slice, float]:
        """Which of a batch's rows are this worker's, and the weight of their mean in that of all.

        Neighbours go to different workers: rows that are sorted by length are as long for each. Where
        there are fewer rows than workers, some take one that is another's with weight 0, so that they
        draw the random numbers that the others draw.
        """
        own = len(range(self.rank, rows, self.count))
        return (slice(self.rank, None, self.count), own / rows) if own else (slice(0, 1), 0.0)

    def noise_of(self, rows: int) -> contextlib.AbstractContextManager[Any]:
        """Within it, random numbers for this worker's share are those that the whole batch would get.

        What is random must have the rows of the batch, or several parts of each, as its first dimension.
        Raises NotImplementedError for other random numbers.
        """
        if self.count == 1:
            return contextlib.nullcontext()
        return _NoiseOfBatch(rows, self.share(rows)[0])

    def add_up_gradients(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Replace the gradients of all parameters by their sums over the workers; the sum of the losses ()."""
        loss = loss.detach()
        if self.count > 1:
            loss = loss.clone()
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            for sent in [dist.all_reduce(each, async_op=True) for each in (*gradients, loss)]:
                sent.wait()
        return loss

    def share_rows(self, tensor: Tensor, rows: int) -> None:
        """Fill in the first ``rows`` of a tensor, of which each worker has set its share of a batch's rows."""
        if self.count == 1:
            return
        share, weight = self.share(rows)
        whole = torch.zeros_like(tensor[:rows])
        if weight:
            whole[share] = tensor[:rows][share]
        dist.all_reduce(whole)
        tensor[:rows] = whole

    def add_up(self, *values: float) -> list[float]:
        """The sum of each value over the workers."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return sums.tolist()

    def gather(self, values: Sequence[int]) -> list[list[int]]:
        """The values of every worker, by rank; all have as many."""
        if self.count == 1:
            return [list(values)]
        own = torch.tensor(values, dtype=torch.int64)
        found = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(found, own)
        return [each.tolist() for each in found]

    def newest(self, data: bytes, age: int) -> bytes:
        """The data of the worker with the highest ``age``, which is sent to those that have another."""
        ages = [found for (found,) in self.gather([age])]
        newest = max(ages)
        if min(ages) == newest:
            return data
        source = ages.index(newest)
        size = self.gather([len(data)])[source][0]
        buffer = torch.empty(size, dtype=torch.uint8)
        if self.rank == source:
            buffer = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
        dist.broadcast(buffer, source)
        return buffer.numpy().tobytes()

    def take_over(self, model: nn.Module) -> None:
        """Give every worker the weights and buffers of the first."""
        if self.count > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)


ALONE = Workers()


class _NoiseOfBatch(TorchDispatchMode):
    """Draws every random number for a whole batch and hands out those of a share of its rows."""

    def __init__(self, rows: int, share: slice) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.rows, self.share = rows, share
        self.own = len(range(rows)[share])

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        name = str(func)
        if name in _DRAWN_BY_SHAPE:
            return self._own(func(self._whole(args[0]), *args[1:], **kwargs))
        if name in _DRAWN_LIKE | _DRAWN_IN_PLACE:
            whole = args[0].new_empty(self._whole(args[0].shape))
            drawn = self._own(func(whole, *args[1:], **kwargs))
            return args[0].copy_(drawn) if name in _DRAWN_IN_PLACE else drawn
        raise NotImplementedError(f"random numbers of several workers must not be drawn by {name}")

    def _whole(self, shape: Sequence[int]) -> list[int]:
        """The shape that this one has in the whole batch."""
        if not shape or shape[0] % self.own:
            raise NotImplementedError(
                f"random numbers of several workers must have the {self.own} rows of the batch first, "
                f"got the shape: {list(shape)}"
            )
        return [shape[0] // self.own * self.rows, *shape[1:]]

    def _own(self, drawn: Tensor) -> Tensor:
        result: Tensor = drawn.unflatten(0, (self.rows, -1))[self.share].flatten(0, 1)
        return result
