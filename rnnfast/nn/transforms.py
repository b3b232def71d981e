"""What ``torch.func`` and derivatives beyond the first need of the layer, apart from its operators.

Second derivatives, and derivatives forward, are those of torch's own functions
(:func:`rnnfast.nn.differentiable.layer`), and where those cannot serve the ones of
:func:`rnnfast.nn.reference.layer`: T steps of plain torch operations over the whole batch. That is exact, can be
differentiated on, and is slower than the kernels; a first derivative backward never pays for it.

A call is the arguments of an operator by the names that they have in ``csrc/library.cpp``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnfast.nn import differentiable, reference

PRIMALS = ("input", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
"""What a layer is differentiated by, in the order of the operators."""

_WEIGHTS = PRIMALS[3:]

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
    given = {name: call[name] for name in (*PRIMALS, *OPTIONS)}
    dtype = call["input"].dtype
    if dtype in (torch.bfloat16, torch.float16):  # with sums in float32, as the kernels have them
        wide = {name: None if given[name] is None else given[name].float() for name in PRIMALS}
        given = given | wide
    results = (differentiable if _is_for_torch(given) else reference).layer(cell, **given)
    return tuple(each.to(dtype) for each in results)


def _is_for_torch(given: Call) -> bool:
    """Whether torch's own functions can serve a call."""
    if not given["input"].is_cpu:  # those of cuDNN have no second derivative
        return False
    if not torch._C._are_functorch_transforms_active():
        return True
    # They read the sizes of a packed sequence, which torch.func hides, and write in place, which vmap refuses.
    is_padded = given["lengths"] is None and given["batch_sizes"] is None
    return is_padded and not any(map(_is_mapped, given.values()))


def _is_mapped(value: Any) -> bool:
    """Whether a vmap maps a dimension of a tensor, under whatever other transforms."""
    functorch = torch._C._functorch
    while isinstance(value, Tensor) and functorch.is_functorch_wrapped_tensor(value):
        if functorch.is_batchedtensor(value):
            return True
        value = functorch.get_unwrapped(value)
    return False


def gradients(call: Call, wanted: Iterable[str]) -> Tensors:
    """The gradients of a backward call by the ``wanted`` primals, likewise."""
    results, pull = torch.func.vjp(  # type: ignore[misc]
        lambda chosen: outputs({**call, **chosen}), {name: call[name] for name in wanted}
    )
    given = [call[name] for name in COTANGENTS[: len(results)]]
    seeds = (torch.zeros_like(y) if g is None else g for y, g in zip(results, given, strict=True))
    result: Tensors = pull(tuple(seeds))[0]
    return result


def pulled(call: Call, names: Iterable[str], seeds: Tensors) -> Tensors:
    """The gradients, by what ``names`` says, of the sum of ``seeds`` times the gradients by their primals."""
    chosen = {name: call[name] for name in names}
    if torch._C._are_functorch_transforms_active():
        pull = torch.func.vjp(lambda new: gradients({**call, **new}, seeds), chosen)[1]
        result: Tensors = pull(seeds)[0]
        return result
    # The same by autograd itself, which takes a fraction of the time.
    differentiable_on = torch.is_grad_enabled()
    with torch.enable_grad():
        # Each a tensor of its own, though one may stand in two places.
        leaves = {
            name: (x.view_as(x) if differentiable_on else x.detach()).requires_grad_()
            for name, x in {**{name: call[name] for name in seeds}, **chosen}.items()
        }
        call = {**call, **leaves}
        results = outputs(call)
        pairs = [
            (y, call[name])
            for y, name in zip(results, COTANGENTS, strict=False)
            if call[name] is not None
        ]
        first = torch.autograd.grad(
            [y for y, _ in pairs],
            [leaves[name] for name in seeds],
            [g for _, g in pairs],
            create_graph=True,
            materialize_grads=True,
        )
    found = torch.autograd.grad(
        first,
        [leaves[name] for name in chosen],
        list(seeds.values()),
        create_graph=differentiable_on,
        materialize_grads=True,
    )
    return dict(zip(chosen, found, strict=True))


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
    if sums or call["batch_sizes"] is not None or any(dims[name] is not None for name in _WEIGHTS):
        entries = (
            (x,) * size if dims[name] is None else x.unbind(dims[name]) for name, x in call.items()
        )
        calls = [operator(*entry) for entry in zip(*entries, strict=True)]
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
