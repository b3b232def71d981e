"""How many floating-point operations a layer takes, as torch's counter counts them.

A multiplication of matrices of (m, k) and (k, n) is 2 m n k operations; nothing else counts. So a layer in one
direction is 2 R (|W_ih| + |W_hh| + |W_hr|), R being its time steps over all rows without padding and ``|W|`` the number
of weights. Backward each product counts once for each of its factors that needs a gradient. That is what the counter of
torch finds in the layers of ``torch.nn``, whose products it sees one by one.
"""

from typing import Any

from torch import Tensor


def _steps(input: Tensor, lengths: Tensor | None) -> int:
    """Time steps over all rows: those that lengths count, where there are numbers to read."""
    if lengths is not None and _has_numbers(lengths):
        return int(lengths.sum())
    steps = 1
    for size in input.shape[:-1]:
        steps *= size
    return steps


def _has_numbers(x: Tensor) -> bool:
    return type(x) is Tensor and x.device.type == "cpu"


def layer(
    cell: int,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    lengths: Tensor | None = None,
    *others: Any,
    out_val: Any = None,
    **options: Any,
) -> int:
    """Of a forward pass."""
    weights = w_ih.numel() + w_hh.numel() + (0 if w_hr is None else w_hr.numel())
    return 2 * _steps(input, lengths) * weights


def quantized_layer(
    cell: int,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    weights: Tensor,
    lengths: Tensor | None = None,
    *others: Any,
    out_val: Any = None,
    **options: Any,
) -> int:
    """Of a forward pass with weights as bytes: as many as with floats."""
    width = h0.shape[1]
    hidden = width if c0 is None else c0.shape[1]
    products = (1, 1, 3, 4)[cell] * hidden * (input.shape[-1] + width)
    projection = 0 if hidden == width else width * hidden
    return 2 * _steps(input, lengths) * (products + projection)


def layer_backward(
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
    *others: Any,
    out_val: Any = None,
    **options: Any,
) -> int:
    """Of a backward pass."""
    steps = _steps(input, lengths)
    # The first step needs no gradient of the state before it, unless somebody asks for that.
    first = h0.shape[0]
    if reverse and batch_sizes is not None and _has_numbers(batch_sizes):
        first = int(
            batch_sizes[-1]
        )  # the rows that are longest; the others' first steps go with their later ones
    by_state = steps - (0 if h0.requires_grad else first)
    total = w_ih.numel() * steps * (int(input_gradient) + int(w_ih.requires_grad))
    total += w_hh.numel() * (by_state + steps * int(w_hh.requires_grad))
    if w_hr is not None:
        total += w_hr.numel() * steps * (1 + int(w_hr.requires_grad))
    return 2 * total
