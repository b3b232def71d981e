"""Layers on one another, each in one or both directions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnfast.nn.ops import support
from rnnfast.nn.ops.eager_stack import EagerStack, StackCall
from rnnfast.nn.ops.modes import is_traced, is_transformed
from rnnfast.nn.ops.one_layer import layer_by_layer
from rnnfast.nn.ops.operators import ALL_IF_NEEDED, CELLS_IF_NEEDED
from rnnfast.nn.ops.precision import may_round
from rnnfast.nn.ops.support import CELLS, NUMBERS, check


def stack(
    cell: str,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Sequence[Tensor | None]],
    *,
    directions: int = 1,
    dropout: float = 0.0,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    batch_first: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, ...]:
    """Layers on one another, each in one or both directions: as so many calls of :func:`layer`, in less time.

    To autograd they are one function, so that a short call does not take its time for every layer.

    Args:
        cell: one of :data:`CELLS`.
        input: as for :func:`layer`.
        h0: (layers * directions, N, P), both directions of a layer beside each other; None: zeros.
        c0: (layers * directions, N, H) for an LSTM; None: zeros, or that the cell has none.
        weights: for each layer and direction w_ih, w_hh, b_ih, b_hh and w_hr as for :func:`layer`.
        directions: 2: each layer's output is that of a forward and of a reverse sweep beside each other.
        dropout: probability of zeroing an output between layers.
        lengths: as for :func:`layer`.
        batch_sizes: likewise.
        batch_first: likewise.
        recompute: likewise.

    Returns:
        The output of the last layer, shaped like the input with directions * P features; h_n, shaped like h0; for an
        LSTM also c_n, shaped like c0.

    Raises:
        RuntimeError: as by :func:`layer`.
    """
    if h0 is None:
        batch = (
            int(batch_sizes[0]) if batch_sizes is not None else input.shape[0 if batch_first else 1]
        )
        h0, c0 = _zeros(cell, input, batch, weights[0])
        h0s, c0s = (h0,) * len(weights), (c0,) * len(weights)
    else:
        h0s = h0.unbind()
        c0s = (None,) * len(weights) if c0 is None else c0.unbind()
    if (
        support.is_narrow(input)
        or (dropout > 0 and len(weights) > directions)
        or is_transformed()
        or is_traced()
    ):
        settings = {"lengths": lengths, "batch_sizes": batch_sizes, "batch_first": batch_first}
        places = list(zip(h0s, c0s, weights, strict=True))
        return layer_by_layer(
            cell, input, places, directions, dropout, recompute=recompute, **settings
        )
    check(cell, input)
    keep = CELLS_IF_NEEDED if recompute else ALL_IF_NEEDED
    call = StackCall(
        NUMBERS[cell],
        directions,
        (lengths, batch_sizes, batch_first),
        keep,
        may_round(input),
    )
    if torch.is_grad_enabled():
        flat = (*h0s, *c0s, *(each for place in weights for each in place))
        if input.requires_grad or any(x is not None and x.requires_grad for x in flat):
            return EagerStack.apply(call, input, *flat)  # type: ignore[no-any-return, no-untyped-call]
    with torch._C._AutoDispatchBelowAutograd():
        results, _ = call.forward(input, h0s, c0s, weights)
    return results


def _zeros(
    cell: str, input: Tensor, batch: int, weights: Sequence[Any]
) -> tuple[Tensor, Tensor | None]:
    """The states before the first step where none are given, h0 and c0: nobody writes into them."""
    _, w_hh, *_, w_hr = weights
    hidden = w_hh.shape[0] // CELLS[cell]
    h0 = input.new_zeros(batch, w_hh.shape[1])
    if cell != "lstm":
        return h0, None
    return h0, h0 if w_hr is None else input.new_zeros(batch, hidden)
