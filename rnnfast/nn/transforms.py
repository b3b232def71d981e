"""What ``torch.func`` and derivatives beyond the first need of the layer, apart from its operators.

Second derivatives, and derivatives forward, are those of :func:`rnnfast.nn.reference.layer`: T steps of plain torch
operations over the whole batch. That is exact, can be differentiated on, and is much slower than the kernels; a first
derivative backward never pays for it.

A call is the arguments of an operator by the names that they have in ``csrc/library.cpp``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnfast.nn import reference

PRIMALS = ("input", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
"""What a layer is differentiated by, in the order of the operators."""

WEIGHTS = PRIMALS[3:]

COTANGENTS = ("grad_output", "grad_h_n", "grad_c_n")
"""The gradients of its outputs."""

OPTIONS = ("lengths", "batch_sizes", "batch_first", "reverse")
"""What else says which layer it is, beside the cell."""

_SEQUENCES = ("input", "output", "reserve", "grad_output", "grad_input")
_STATES = ("h0", "c0", "h_n", "c_n", "grad_h0", "grad_c0", "grad_h_n", "grad_c_n", "lengths")

Call = Mapping[str, Any]
Tensors = dict[str, Tensor]


def outputs(call: Call) -> tuple[Tensor, ...]:
    """The outputs of a call, in operations that can be differentiated as often as one likes."""
    cell = tuple(reference.CELLS)[call["cell"]]
    primals = {name: call[name] for name in PRIMALS}
    dtype = call["input"].dtype
    if dtype in (torch.bfloat16, torch.float16):  # with sums in float32, as the kernels have them
        primals = {name: None if x is None else x.float() for name, x in primals.items()}
    results = reference.layer(cell, **primals, **{name: call[name] for name in OPTIONS})
    return tuple(each.to(dtype) for each in results)


def gradients(call: Call, wanted: Iterable[str]) -> Tensors:
    """The gradients of a backward call by the ``wanted`` primals, likewise."""
    results, pull = torch.func.vjp(  # type: ignore[misc]
        lambda chosen: outputs({**call, **chosen}), {name: call[name] for name in wanted}
    )
    given = [call[name] for name in COTANGENTS[: len(results)]]
    seeds = (torch.zeros_like(y) if g is None else g for y, g in zip(results, given, strict=True))
    result: Tensors = pull(tuple(seeds))[0]
    return result


def pulled(
    function: Callable[[Call], Any], call: Call, names: Iterable[str], seeds: Any
) -> Tensors:
    """The gradients, by what ``names`` says, of the sum of ``seeds`` times what ``function`` makes of a call."""
    chosen = {name: call[name] for name in names}
    result: Tensors = torch.func.vjp(lambda new: function({**call, **new}), chosen)[1](seeds)[0]
    return result


def pushed(function: Callable[[Call], Any], call: Call, tangents: Tensors) -> Any:
    """The derivative of what ``function`` makes of a call, along the ``tangents`` of some of its tensors.

    A pullback is linear, and the pullback of that is the derivative forward. So no dual numbers are needed, of which
    torch has but one level.
    """
    # Inside of a rule torch takes no derivatives forward, not even those of an outer level, which must not get lost.
    with forward_ad._set_fwd_grad_enabled(True):
        call = {
            name: forward_ad.unpack_dual(value).primal if isinstance(value, Tensor) else value
            for name, value in call.items()
        }
        chosen = {name: call[name] for name in tangents}
        results, pull = torch.func.vjp(  # type: ignore[misc]
            lambda new: function({**call, **new}), chosen
        )
        return torch.func.vjp(lambda seeds: pull(seeds)[0], results)[1](tangents)[0]


def mapped(
    operator: Callable[..., tuple[Tensor | None, ...]],
    size: int,
    in_dims: tuple[Any, ...],
    call: Call,
    results: tuple[str, ...],
    sums: bool,
) -> tuple[tuple[Tensor | None, ...], tuple[int | None, ...]]:
    """The rule of vmap for an operator.

    Args:
        operator: takes the values of ``call`` in their order.
        size: of the mapped dimension.
        in_dims: for each argument, which of its dimensions is mapped, or None.
        call: the arguments, with that dimension.
        results: names of what the operator returns.
        sums: whether a wanted result is a sum over the batch rows, as the gradient of a weight is.

    Returns:
        The results, and which of their dimensions is the mapped one.
    """
    dims = {
        name: dim if isinstance(call[name], Tensor) else None
        for name, dim in zip(call, in_dims, strict=True)
    }
    if sums or call["batch_sizes"] is not None or any(dims[name] is not None for name in WEIGHTS):
        calls = []
        for index in range(size):
            entry = (
                x if dims[name] is None else x.select(dims[name], index) for name, x in call.items()
            )
            calls.append(operator(*entry))
        stacked = [None if x[0] is None else torch.stack(x) for x in zip(*calls, strict=True)]
        return tuple(stacked), tuple(None if x is None else 0 for x in stacked)

    # The mapped dimension becomes part of the batch: one call over so many times the rows.
    rows = dict.fromkeys(_SEQUENCES, 0 if call["batch_first"] else 1) | dict.fromkeys(_STATES, 0)
    merged = dict(call)
    for name in rows.keys() & call.keys():
        x, dim, row = call[name], dims[name], rows[name]
        if _is_there(name, x):
            apart = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
            merged[name] = apart.movedim(0, row).flatten(row, row + 1)
    values = operator(*merged.values())
    split: list[Tensor | None] = list(values)
    out_dims: list[int | None] = [None] * len(values)
    for place, (name, x) in enumerate(zip(results, values, strict=True)):
        if name in rows and x is not None and _is_there(name, x):
            out_dims[place] = row = rows[name]
            split[place] = x.unflatten(row, (size, x.shape[row] // size))
    return tuple(split), tuple(out_dims)


def _is_there(name: str, x: Tensor | None) -> bool:
    """Not None, nor the empty vector that an operator returns for None."""
    return x is not None and (x.dim() > 1 or name == "lengths")
