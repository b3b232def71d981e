"""Batches that are made ready while the one before is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")

BATCHES_AHEAD = 2  # batches


def ahead(
    items: Iterable[Given], make: Callable[[Given], Made], device: torch.device
) -> Iterator[tuple[Given, Made]]:
    """Each item with what is made of it, in order.

    For a GPU a thread makes the next ones ready while it computes; on the CPU that would take cores from the layers.
    """
    if device.type != "cuda":
        for item in items:
            yield item, make(item)
        return
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        started = deque((item, pool.submit(make, item)) for item in islice(items, BATCHES_AHEAD))
        while started:
            item, made = started.popleft()
            started += ((next_item, pool.submit(make, next_item)) for next_item in islice(items, 1))
            yield item, made.result()
