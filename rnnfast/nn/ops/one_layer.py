"""One layer in one direction, and several of them one by one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnfast.nn.ops import autograd, support
from rnnfast.nn.ops.operators import ALL_IF_NEEDED, CELLS_IF_NEEDED
from rnnfast.nn.ops.precision import may_round
from rnnfast.nn.ops.support import NUMBERS, check


def layer(
    cell: str,
    input: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    w_hr: Tensor | None = None,
    *,
    c0: Tensor | None = None,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    batch_first: bool = False,
    reverse: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, ...]:
    """One recurrent layer in one direction.

    T is the number of time steps, N that of batch rows, I the input size, H the hidden size, G the number of gates, and
    P the width of the hidden state, which is H unless an LSTM has a projection.

    Args:
        cell: one of :data:`CELLS`.
        input: (T, N, I), or (N, T, I) with ``batch_first``, or (rows, I) with ``batch_sizes``. Any strides will do;
            they cost a copy if the last dimension is not contiguous, and on a GPU also if the others do not fold into
            one.
        h0: (N, P), the hidden state before the first step.
        w_ih: (G*H, I), the gates in torch's order.
        w_hh: (G*H, P).
        b_ih: (G*H,), or None, and then b_hh too.
        b_hh: (G*H,).
        w_hr: (P, H), the projection of an LSTM; None: it has none.
        c0: (N, H), the cell state of an LSTM before the first step; None for other cells.
        lengths: (N,) int64 on the CPU, each in 1..T, in any order: the true length of each row. What is past it costs
            nothing and is 0 in the output.
        batch_sizes: (T,) int64 on the CPU, those of a ``PackedSequence``.
        batch_first: the batch is the first dimension of input and output.
        reverse: from the last true step to the first.
        recompute: keep no gates of a GRU or LSTM for the backward pass, which makes them again from the output (and an
            LSTM's cell states): less memory for a longer training step, with the same result, on the CPU to the last
            bit.

    Returns:
        The hidden states, shaped like the input with P in the place of I, and the last one of each row, (N, P); for an
        LSTM also the last cell state, (N, H). They can be differentiated as often as one likes, backward and forward;
        beyond the first derivative backward that is T steps of plain torch operations.

    Raises:
        RuntimeError: an argument has the wrong shape, dtype or device, or a length is out of range.
        torch.OutOfMemoryError: the GPU has no room for what the layer computes. Inside of torch.compile and torch.func
            that is a RuntimeError with the same words.
    """
    check(cell, input)
    tensors = (input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr)
    narrow = support.is_narrow(input)
    if narrow:
        tensors = tuple(None if t is None else t.float() for t in tensors)  # type: ignore[assignment]
    keep = CELLS_IF_NEEDED if recompute else ALL_IF_NEEDED
    tf32 = may_round(input)
    arguments = (NUMBERS[cell], *tensors, lengths, batch_sizes, batch_first, reverse, keep, tf32)
    output, h_n, c_n, _ = autograd.layer(*arguments)
    results = (output, h_n) if c0 is None else (output, h_n, c_n)
    return tuple(t.to(input.dtype) for t in results) if narrow else results


def layer_by_layer(
    cell: str,
    input: Tensor,
    places: Sequence[tuple[Any, Any, Sequence[Any]]],
    directions: int,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[Tensor, ...]:
    """A stack by calls of :func:`layer`; places: h0, c0 and the weights of each layer and direction."""
    last = []
    for first in range(0, len(places), directions):
        if first > 0 and dropout > 0:
            input = torch.nn.functional.dropout(input, dropout)
        outputs = []
        for place in range(first, first + directions):
            h0, c0, weights = places[place]
            output, *after = layer(
                cell, input, h0, *weights, c0=c0, reverse=place > first, **settings
            )
            outputs.append(output)
            last.append(after)
        input = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    return input, *(torch.stack(each) for each in zip(*last, strict=True))
