"""The layer in torch's own functions, which can be differentiated as often as one likes.

They have no ``lengths``, and no single direction but the forward one. So rows with lengths become a packed sequence,
and a row that is read backward is turned over, within its length, before and after.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_FUNCTIONS = {
    "rnn_tanh": torch.rnn_tanh,
    "rnn_relu": torch.rnn_relu,
    "gru": torch.gru,
    "lstm": torch.lstm,
}


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
) -> tuple[Tensor, ...]:
    """The layer of :func:`rnnfast.nn.ops.layer`, with its arguments, on the CPU."""
    weights = [each for each in (w_ih, w_hh, b_ih, b_hh, w_hr) if each is not None]
    has_bias = b_ih is not None
    states: tuple[Tensor, ...] = (h0,) if c0 is None else (h0, c0)
    if lengths is None and batch_sizes is None:
        time = 1 if batch_first else 0
        steps = input.flip(time) if reverse else input
        output, *last = _run(cell, steps, states, weights, has_bias, batch_first)
        return output.flip(time) if reverse else output, *last
    if batch_sizes is not None:
        places = _packed_places(batch_sizes, reverse)
        data = input if places is None else input[places]
        output, *last = _run(cell, data, states, weights, has_bias, batch_sizes=batch_sizes)
        return output if places is None else output[places], *last
    assert lengths is not None
    # Longest first, as torch wants them: of each step the rows that have it, one step after another.
    time = input.shape[1 if batch_first else 0]
    ordered, order = lengths.sort(descending=True, stable=True)
    t, place = (torch.arange(time).unsqueeze(1) < ordered).nonzero(as_tuple=True)
    sizes = torch.bincount(t, minlength=int(ordered[0]))
    n = order[place]
    if reverse:
        t = lengths[n] - 1 - t
    at = (n, t) if batch_first else (t, n)
    states = tuple(each[order] for each in states)
    data, *last = _run(cell, input[at], states, weights, has_bias, batch_sizes=sizes)
    output = data.new_zeros(*input.shape[:-1], data.shape[-1]).index_put(at, data)
    back = order.argsort()
    return output, *(each[back] for each in last)


def _packed_places(batch_sizes: Tensor, reverse: bool) -> Tensor | None:
    """Where the rows of a packed sequence stand that turns every row over; None where none is turned."""
    if not reverse:
        return None
    t, n = (torch.arange(int(batch_sizes[0])) < batch_sizes.unsqueeze(1)).nonzero(as_tuple=True)
    lengths, first = torch.bincount(n), batch_sizes.cumsum(0) - batch_sizes
    return first[lengths[n] - 1 - t] + n


def _run(
    cell: str,
    input: Tensor,
    states: tuple[Tensor, ...],
    weights: list[Tensor],
    has_bias: bool,
    batch_first: bool = False,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    states = tuple(each.unsqueeze(0) for each in states)
    hx: Any = states[0] if len(states) == 1 else states
    others = (weights, has_bias, 1, 0.0, False, False)
    function: Any = _FUNCTIONS[cell]
    with _without_onednn():  # whose LSTM can be differentiated only once
        if batch_sizes is None:
            output, *last = function(input, hx, *others, batch_first)
        else:
            output, *last = function(input, batch_sizes, hx, *others)
    return output, *(each.squeeze(0) for each in last)


@contextmanager
def _without_onednn() -> Iterator[None]:
    # Not torch.backends.mkldnn.flags, which sets other switches as well, and warns.
    was_enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(was_enabled)
