"""The mathematics of the layers in a few plain lines of PyTorch: the oracle of every test.

It is slow on purpose: nothing is fused, nothing is skipped. In float64 it is what the kernels are held against.

One step of a cell takes x = W_ih x_t + b_ih and h = W_hh h_(t-1) + b_hh, the gates side by side, and the state.
"""

import torch
from torch import Tensor

State = tuple[Tensor, ...]


def rnn_tanh(x: Tensor, h: Tensor, state: State) -> State:
    """h_t = tanh(x + h) (Elman, 1990)."""
    return (torch.tanh(x + h),)


def rnn_relu(x: Tensor, h: Tensor, state: State) -> State:
    """h_t = max(x + h, 0)."""
    return (torch.relu(x + h),)


def gru(x: Tensor, h: Tensor, state: State) -> State:
    """h_t = (1 - z) n + z h_(t-1) (Cho et al., 2014, in torch's form)."""
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, dim=1), h.chunk(3, dim=1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * state[0],)


def lstm(x: Tensor, h: Tensor, state: State) -> State:
    """c_t = f c_(t-1) + i g, h_t = o tanh(c_t) (Hochreiter and Schmidhuber, 1997)."""
    i, f, g, o = (x + h).chunk(4, dim=1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


CELLS = {"rnn_tanh": rnn_tanh, "rnn_relu": rnn_relu, "gru": gru, "lstm": lstm}


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
) -> State:
    """The layer of :func:`rnnfast.nn.ops.layer`, with its arguments.

    Rows are swept over their first ``lengths`` steps; what the input holds past them reaches nothing, and the output
    is 0 there.
    """
    weights = (w_ih, w_hh, b_ih, b_hh, w_hr)
    if batch_sizes is not None:
        there = torch.arange(int(batch_sizes[0])) < batch_sizes.unsqueeze(1)
        places = there.to(input.device).nonzero(as_tuple=True)
        padded = input.new_zeros(*there.shape, input.shape[1]).index_put(places, input)
        output, *last = layer(
            cell, padded, h0, *weights, c0=c0, lengths=there.sum(0), reverse=reverse
        )
        return output[places], *last
    if batch_first:
        output, *last = layer(
            cell, input.transpose(0, 1), h0, *weights, c0=c0, lengths=lengths, reverse=reverse
        )
        return output.transpose(0, 1), *last

    steps = range(input.shape[0])
    if lengths is not None:
        here = (torch.arange(len(steps)).unsqueeze(1) < lengths).unsqueeze(2).to(input.device)
        input = torch.where(here, input, 0.0)
    x = input @ w_ih.T
    if b_ih is not None:
        x = x + b_ih
    state: State = (h0,) if c0 is None else (h0, c0)
    outputs = {}
    # All at once: the derivative of x[t] would be as long as x, for each of its steps.
    parts = x.unbind()
    for t in reversed(steps) if reverse else steps:
        h = state[0] @ w_hh.T
        if b_hh is not None:
            h = h + b_hh
        new = CELLS[cell](parts[t], h, state)
        if w_hr is not None:
            new = (new[0] @ w_hr.T, *new[1:])
        if lengths is None:
            state, outputs[t] = new, new[0]
        else:
            state = tuple(torch.where(here[t], a, b) for a, b in zip(new, state, strict=True))
            outputs[t] = torch.where(here[t], new[0], 0.0)
    return torch.stack([outputs[t] for t in steps]), *state


def pooled(
    cell: str,
    ids: Tensor,
    lengths: Tensor,
    table: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None = None,
    *,
    pooling: tuple[str, ...],
    word_weights: Tensor | None = None,
    distinct: bool = False,
    padding_before: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """What :func:`rnnfast.nn.ops.pooled` gives, with its arguments: the layer over rows of the table, then pooling."""
    steps = torch.arange(ids.shape[1])
    here = steps < lengths.unsqueeze(1)
    start = ids.shape[1] - lengths if padding_before else torch.zeros_like(lengths)
    places = torch.where(here, start.unsqueeze(1) + steps, 0)
    words = torch.where(here, ids.gather(1, places), 0).long()
    h0 = table.new_zeros(len(ids), w_hh.shape[1])
    output, h_n, *_ = layer(
        cell,
        table[words],
        h0,
        torch.eye(len(w_hh), dtype=table.dtype),
        w_hh,
        torch.zeros_like(w_hh[:, 0]),
        torch.zeros_like(w_hh[:, 0]) if b_hh is None else b_hh,
        c0=h0 if cell == "lstm" else None,
        lengths=lengths,
        batch_first=True,
        reverse=reverse,
    )
    here = here.unsqueeze(2)
    results = {
        "mean": output.sum(1) / lengths.unsqueeze(1),
        "max": output.masked_fill(~here, -torch.inf).amax(1),
        "last": h_n,
    }
    pooled = tuple(results[name] for name in pooling)
    if word_weights is None:
        return pooled
    counted = [row[:length] for row, length in zip(words, lengths, strict=True)]
    if distinct:
        counted = [row.unique() for row in counted]
    added = [word_weights[row].sum() / len(row) ** 0.5 for row in counted]
    return *pooled, torch.stack(added) if added else word_weights.new_empty(0)
