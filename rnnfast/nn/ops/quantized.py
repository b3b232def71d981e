"""The layer whose weights are bytes, and stacks of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnfast.nn.ops import operators
from rnnfast.nn.ops.support import NUMBERS


def quantized_layer(
    cell: str,
    input: Tensor,
    h0: Tensor,
    packed: Tensor,
    *,
    c0: Tensor | None = None,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    batch_first: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """One recurrent layer in one direction whose weights are bytes, for inference on the CPU.

    Args:
        cell: one of :data:`CELLS`.
        input: as for :func:`rnnfast.nn.ops.layer`, float32.
        h0: (N, P), the hidden state before the first step.
        packed: the bytes, uint8, that :func:`rnnfast.nn.quantization.pack` makes.
        c0: (N, H), the cell state of an LSTM before the first step; None for other cells.
        lengths: as for :func:`rnnfast.nn.ops.layer`.
        batch_sizes: likewise.
        batch_first: likewise.
        reverse: likewise.

    Returns:
        As :func:`rnnfast.nn.ops.layer`, without derivatives.

    Raises:
        RuntimeError: an argument has the wrong shape, dtype or device, or a length is out of range.
    """
    output, *last = operators.QUANTIZED_LAYER(
        NUMBERS[cell], input, h0, c0, packed, lengths, batch_sizes, batch_first, reverse
    )
    return (output, *last) if c0 is not None else (output, last[0])


def quantized_stack(
    cell: str,
    input: Tensor,
    states: tuple[Tensor, ...],
    packed: Sequence[Tensor],
    directions: int,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """What :func:`rnnfast.nn.ops.stack` gives, by :func:`quantized_layer`; packed: of all layers and directions."""
    last = []
    for first in range(0, len(packed), directions):
        outputs = []
        for place in range(first, first + directions):
            h0, *c0 = (each[place] for each in states)
            output, *after = quantized_layer(
                cell,
                input,
                h0,
                packed[place],
                c0=c0[0] if c0 else None,
                lengths=lengths,
                batch_sizes=batch_sizes,
                batch_first=batch_first,
                reverse=place > first,
            )
            outputs.append(output)
            last.append(after)
        input = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    return input, *(torch.stack(each) for each in zip(*last, strict=True))


_SUMS = ((1, 1), (1, 1), (4, 3), (4, 4))
"""For each cell its sums, and how many of them have either matrix."""


def check_packed(cell: int, inputs: int, hidden: int, width: int, packed: Tensor) -> None:
    """Raises RuntimeError unless there are as many bytes as csrc/cpu/int8/layout.h has for a quantized layer."""
    sums, products = _SUMS[cell]
    words = -(-inputs // 4) + -(-width // 4)
    size = -(-hidden // 16) * 64 * (5 * sums + products * words) + 15 * 64
    if width != hidden:
        size += -(-width // 16) * 64 * (2 + -(-hidden // 4))
    if packed.numel() != size:
        raise RuntimeError(
            f"rnnfast: the packed weights of {inputs} inputs and {hidden} hidden units must have {size} bytes, "
            f"got: {packed.numel()}"
        )
