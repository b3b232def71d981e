"""What is measured: a cell, a mode and a shape; its work; and the tensors that every contender gets."""

import argparse
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
"""The cells (RNN: tanh) by their names in torch.nn, and the number of gates of each, G."""

MODES = ("forward", "training", "packed", "packed-training")
"""Packed: the lengths of the rows are uniform in 1..T. Training: forward, and the gradients of input and weights."""


class Shape(NamedTuple):
    """T time steps, N batch rows, I input size, H hidden size."""

    steps: int
    batch: int
    inputs: int
    hidden: int

    def __str__(self) -> str:
        return ", ".join(map(str, self))


def shape_of(text: str) -> Shape:
    """From an option's four numbers."""
    sizes = text.split(",")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"must be T,N,I,H, four positive numbers, got: {text!r}")
    return Shape(*map(int, sizes))


GRID = tuple(
    Shape(*sizes)
    for sizes in (
        (256, 32, 64, 64),
        (256, 64, 128, 128),
        (256, 64, 128, 256),
        (256, 256, 128, 256),
        (500, 32, 128, 512),
        (96, 512, 9, 64),
        (1000, 16, 32, 128),
        (100, 64, 512, 1024),
    )
)
BATCH_1 = (Shape(256, 1, 128, 256), Shape(1000, 1, 64, 128))
"""Shapes of one row: kept out of the means over the grid, and never packed."""


@dataclass(frozen=True)
class Case:
    cell: str
    mode: str
    shape: Shape

    @property
    def packed(self) -> bool:
        return self.mode.startswith("packed")

    @property
    def training(self) -> bool:
        return self.mode.endswith("training")

    def __str__(self) -> str:
        return f"{self.cell} {self.mode} ({self.shape})"


@dataclass(frozen=True)
class Data:
    """The tensors of a case, on the CPU in float32."""

    input: Tensor
    """(T, N, I), 0 past the end of a row."""
    lengths: Tensor | None
    """(N,) int64, in no order; None: every row has T steps."""
    weights: dict[str, Tensor]
    """w_ih (G*H, I), w_hh (G*H, H), b_ih and b_hh (G*H,), the gates in torch's order."""

    @property
    def tokens(self) -> int:
        """Steps that are no padding, of all rows together."""
        steps, batch, _ = self.input.shape
        return steps * batch if self.lengths is None else int(self.lengths.sum())


def draw(case: Case) -> Data:
    """The same tensors for the same case, always."""
    steps, batch, inputs, hidden = case.shape
    random = torch.Generator().manual_seed(2026)
    input = torch.randn(steps, batch, inputs, generator=random)
    lengths = None
    if case.packed:
        lengths = torch.randint(1, steps + 1, (batch,), generator=random)
        input[torch.arange(steps)[:, None] >= lengths] = 0
    gates = GATES[case.cell] * hidden
    sizes = {"w_ih": (gates, inputs), "w_hh": (gates, hidden), "b_ih": (gates,), "b_hh": (gates,)}
    weights = {  # uniform within 1/sqrt(H), as torch.nn draws them
        name: (torch.rand(size, generator=random) * 2 - 1) / hidden**0.5
        for name, size in sizes.items()
    }
    return Data(input, lengths, weights)


def operations(case: Case, data: Data) -> int:
    """Floating-point operations of the matrix products: two for a weight and a token, thrice that with gradients."""
    weights = data.weights["w_ih"].numel() + data.weights["w_hh"].numel()
    return 2 * data.tokens * weights * (3 if case.training else 1)
