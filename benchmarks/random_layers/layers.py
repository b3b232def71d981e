"""The layers: random ones, and those where rnnfast was slower than torch.nn once."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

CELLS = ("RNN", "RNN relu", "GRU", "LSTM")

MOST_OPERATIONS = 2e10
"""Of one call; a layer of more is drawn again, so that a few large ones do not take all the time."""


@dataclass(frozen=True)
class Layer:
    """A layer and how it is called."""

    cell: str
    steps: int
    batch: int
    inputs: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    batch_first: bool = False
    training: bool = False
    threads: int = 1
    precision: str = "float32"

    @property
    def operations(self) -> float:
        """Floating-point operations of the matrix products, about."""
        gates = {"GRU": 3, "LSTM": 4}.get(self.cell, 1)
        directions = 2 if self.bidirectional else 1
        inputs = self.inputs + (self.layers - 1) * directions * self.hidden
        weights = directions * gates * self.hidden * (inputs + self.layers * self.hidden)
        return 2.0 * self.steps * self.batch * weights * (3 if self.training else 1)

    def __str__(self) -> str:
        sizes = f"T={self.steps} N={self.batch} I={self.inputs} H={self.hidden}"
        others = {
            f"{self.layers} layers": self.layers > 1,
            "both directions": self.bidirectional,
            "batch first": self.batch_first,
        }
        mode = "training" if self.training else "forward"
        names = [self.cell, sizes, *(name for name, holds in others.items() if holds), mode]
        return ", ".join([*names, f"{self.threads} thread(s)", self.precision])


WORST = (
    Layer("GRU", 2, 1, 64, 256, layers=2, training=True, threads=2),
    *(
        Layer(cell, 1, batch, 128, 256, training=training)
        for cell in CELLS
        for batch in (1, 64)
        for training in (False, True)
    ),
    Layer("LSTM", 200, 8, 128, 256, layers=4, threads=2),
    Layer("LSTM", 128, 16, 128, 512),
    Layer("LSTM", 128, 16, 128, 512, threads=2),
    Layer("GRU", 32, 16, 4096, 256),
    Layer("GRU", 32, 16, 8192, 256),
)
"""Where rnnfast was slower than torch.nn once."""


def drawn(count: int, seed: int, threads: Sequence[int]) -> list[Layer]:
    """So many random layers, their sizes uniform by the logarithm: one step and one row are as likely as many."""
    source = random.Random(seed)

    def size(least: int, most: int) -> int:
        return round(math.exp(source.uniform(math.log(least), math.log(most))))

    def layer() -> Layer:
        return Layer(
            source.choice(CELLS),
            size(1, 300),
            size(1, 200),
            size(1, 300),
            size(8, 1024),
            layers=source.choice((1, 1, 2, 3, 4)),
            bidirectional=source.random() < 0.3,
            batch_first=source.random() < 0.5,
            training=source.random() < 0.5,
            threads=source.choice(threads),
        )

    found: list[Layer] = []
    while len(found) < count:
        if (one := layer()).operations <= MOST_OPERATIONS:
            found.append(one)
    return found
