"""The operators as torch knows them: their arguments by name, and the shapes that a graph has of their results."""

from typing import Any

import torch
from torch import Tensor, library

from rnnfast.nn import transforms
from rnnfast.nn.ops.support import CELLS

LAYER, LAYER_BACKWARD = torch.ops.rnnfast.layer, torch.ops.rnnfast.layer_backward
QUANTIZED_LAYER = torch.ops.rnnfast.quantized_layer
"""The operators themselves, for tools of torch that ask about them."""

LAYER_ARGUMENTS = ("cell", *transforms.PRIMALS, *transforms.OPTIONS, "keep", "tf32")
BACKWARD_ARGUMENTS = (
    "cell",
    *transforms.COTANGENTS,
    *transforms.PRIMALS,
    "output",
    "reserve",
    *transforms.OPTIONS,
    "input_gradient",
    "tf32",
    "state_gradient",
)
"""The arguments of the operators, by name."""

_SAVED = (0, 0, 4, 5)
"""For each cell, the numbers of a hidden unit that the backward pass needs beside the output."""

KEEP_NOTHING, KEEP_CELLS, KEEP_ALL, CELLS_IF_NEEDED, ALL_IF_NEEDED = range(5)
"""How much of that the forward pass keeps: with the cell states alone, the backward pass makes the rest again.

The last two are what a graph holds, so that it trains and infers as well whatever the grad mode was when it was traced:
each call settles them, by :mod:`rnnfast.nn.ops.autograd`.
"""


def called(operator: Any, *arguments: Any) -> Any:
    """What an operator returns; its errors are of torch's types."""
    try:
        return operator(*arguments)
    except RuntimeError as error:
        # Torch's stable interface, through which the kernels allocate, hands on no types of exceptions.
        if "out of memory" in str(error):
            raise torch.OutOfMemoryError(str(error)) from None
        raise


def below_autograd(operator: Any, *arguments: Any) -> Any:
    """Calls an operator without the detour, in Python, by which torch finds its autograd formula."""
    with torch._C._AutoDispatchBelowAutograd():
        return called(operator, *arguments)


@library.register_fake("rnnfast::layer")
def _layer_fake(
    cell: int,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
    reverse: bool,
    keep: int,
    tf32: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # What mixes the meta device with another one comes here as well.
    for name, tensor in (
        ("h0", h0),
        ("c0", c0),
        ("w_ih", w_ih),
        ("w_hh", w_hh),
        ("b_ih", b_ih),
        ("b_hh", b_hh),
        ("w_hr", w_hr),
    ):
        if tensor is not None and tensor.device != input.device:
            raise RuntimeError(
                f"rnnfast: {name} must be on {input.device} as input is, got: {tensor.device}"
            )
    for name, tensor in (("lengths", lengths), ("batch_sizes", batch_sizes)):
        # With the input on the meta device nobody reads them.
        allowed = ("cpu", "meta") if input.device.type == "meta" else ("cpu",)
        if tensor is not None and tensor.device.type not in allowed:
            raise RuntimeError(f"rnnfast: {name} must be on the CPU, got: {tensor.device}")
    hidden = w_hh.shape[0] // tuple(CELLS.values())[cell]
    steps = input.shape[:-1]
    kept = (0, int(c0 is not None), _SAVED[cell], 0, 0)[keep]
    return (
        input.new_empty((*steps, h0.shape[1])),
        h0.new_empty(h0.shape),
        input.new_empty(0) if c0 is None else c0.new_empty(c0.shape),
        input.new_empty((*steps, kept * hidden) if kept else 0),
    )


@library.register_fake("rnnfast::layer_backward")
def _layer_backward_fake(
    cell: int,
    grad_output: Tensor | None,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    output: Tensor,
    reserve: Tensor,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
    reverse: bool,
    input_gradient: bool,
    tf32: bool = False,
    state_gradient: bool = True,
) -> tuple[Tensor, ...]:
    def like(tensor: Tensor | None) -> Tensor:
        return input.new_empty(0 if tensor is None else tensor.shape)

    bias = w_ih.shape[:1]
    return (
        like(input if input_gradient else None),
        like(h0 if state_gradient else None),
        like(c0),
        like(w_ih),
        like(w_hh),
        w_ih.new_empty(bias),
        w_ih.new_empty(bias),
        like(w_hr),
    )


@library.register_fake("rnnfast::quantized_layer")
def _quantized_layer_fake(
    cell: int,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    weights: Tensor,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        input.new_empty((*input.shape[:-1], h0.shape[1])),
        h0.new_empty(h0.shape),
        input.new_empty(0) if c0 is None else c0.new_empty(c0.shape),
    )


@library.register_fake("rnnfast::pooled")
def _pooled_fake(
    cell: int,
    ids: Tensor,
    lengths: Tensor,
    table: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    word_weights: Tensor | None,
    distinct: bool,
    padding_before: bool,
    reverse: bool,
    with_mean: bool,
    with_max: bool,
    with_last: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, hidden = ids.shape[0], w_hh.shape[1]
    wanted = (hidden if each else 0 for each in (with_mean, with_max, with_last))
    results = torch.promote_types(table.dtype, torch.float32)
    mean, maximum, last = (table.new_empty(rows, width, dtype=results) for width in wanted)
    sums = table.new_empty(0 if word_weights is None else rows, dtype=results)
    return mean, maximum, last, sums
