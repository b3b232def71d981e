"""From token ids to pooled hidden states, for inference."""

import torch
from torch import Tensor

from rnnfast.nn.ops.modes import is_transformed
from rnnfast.nn.ops.support import CELLS, NUMBERS

POOLINGS = ("mean", "max", "last")
"""What :func:`pooled` can make of the hidden states of a row."""


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
    """From token ids to pooled hidden states, for inference: one layer in one direction that writes no sequence.

    N is the number of rows, L the tokens that a row holds, V the number of words, H the hidden size, G the number of
    gates. The states before the first step are 0. Thousands of rows at once are best: they are sorted by their lengths
    here, and padding costs nothing.

    A row's result is the same bit for bit whatever other rows there are, in whatever order, and for any number of
    threads; another instruction set rounds in another way.

    Args:
        cell: one of :data:`CELLS`.
        ids: (N, L) int32 or int64, each of a row's tokens in 0..V-1; padding is not read.
        lengths: (N,) int64, each in 1..L, in any order: the number of tokens of each row.
        table: (V, G*H), what a word adds to the sums of its step, W_ih x + b_ih, the gates in torch's order; float32,
            float64, or bfloat16 with sums in float32. Rows may stand apart: at multiples of 64 bytes they are read
            fastest.
        w_hh: (G*H, H).
        b_hh: (G*H,), or None for zeros.
        pooling: of :data:`POOLINGS` what is wanted: the mean and the maximum of the hidden states over a row's tokens,
            and the state after the last step.
        word_weights: (V,), a weight of each word by itself, in the dtype of the results, or None.
        distinct: a word's weight counts once in a row, however often the word is there.
        padding_before: a row's tokens are its last ones, not its first ones.
        reverse: from the last token to the first.

    Returns:
        (N, H) for each name in ``pooling``, in that order, in the dtype of the table, but float32 of one in bfloat16.
        With ``word_weights`` there is (N,) at the end: of each row the sum of the weights that count, over the square
        root of their number.

    Raises:
        RuntimeError: an argument has the wrong shape, dtype or device, an id or a length is out of range, or a gradient
            would have to go through.
    """
    if cell not in CELLS:
        raise RuntimeError(f"rnnfast: cell must be one of {', '.join(CELLS)}, got: {cell}")
    if wrong := [name for name in pooling if name not in POOLINGS]:
        raise RuntimeError(f"rnnfast: pooling must be of {', '.join(POOLINGS)}, got: {wrong[0]}")
    if is_transformed():
        raise RuntimeError("rnnfast: pooled must stay outside of torch.func and forward gradients")
    weights = {"table": table, "w_hh": w_hh, "b_hh": b_hh, "word_weights": word_weights}
    for name, tensor in weights.items():
        if torch.is_grad_enabled() and tensor is not None and tensor.requires_grad:
            raise RuntimeError(
                f"rnnfast: {name} must not require a gradient, since pooled has none: call it under "
                "torch.inference_mode() or torch.no_grad()"
            )
    wanted = tuple(name in pooling for name in POOLINGS)
    options = (distinct, padding_before, reverse, *wanted)
    *results, sums = torch.ops.rnnfast.pooled(
        NUMBERS[cell], ids, lengths, *weights.values(), *options
    )
    pooled = (results[POOLINGS.index(name)] for name in pooling)
    return (*pooled, *(() if word_weights is None else (sums,)))
