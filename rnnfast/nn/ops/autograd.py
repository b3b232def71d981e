"""The layer's operator with its derivatives, plain and under ``torch.func``."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, library

from rnnfast.nn import transforms
from rnnfast.nn.ops import operators
from rnnfast.nn.ops.modes import apply, is_traced, is_transformed
from rnnfast.nn.ops.operators import (
    ALL_IF_NEEDED,
    BACKWARD_ARGUMENTS,
    CELLS_IF_NEEDED,
    KEEP_CELLS,
    KEEP_NOTHING,
    LAYER_ARGUMENTS,
    below_autograd,
)
from rnnfast.nn.ops.saved import is_changed, recall, remember, watched


def _settled(arguments: tuple[Any, ...], learns: bool) -> tuple[Any, ...]:
    """The arguments of ``rnnfast::layer`` with what to keep settled: in inference nothing, so that memory does not grow
    with T beyond the output.
    """
    *others, keep, tf32 = arguments
    if keep in (CELLS_IF_NEEDED, ALL_IF_NEEDED):
        keep -= CELLS_IF_NEEDED - KEEP_CELLS
    return (*others, keep if learns else KEEP_NOTHING, tf32)


def _differentiable(*arguments: Any) -> tuple[Tensor, ...]:
    """``rnnfast::layer`` with its derivative, if one may be asked for.

    Without one the arguments stay as they are, so that what traces below autograd has a graph that can be trained.
    """
    if torch.is_grad_enabled():
        for each in arguments[1:9]:
            if each is not None and each.requires_grad:
                return _EagerLayer.apply(*_settled(arguments, True))  # type: ignore[no-any-return, no-untyped-call]
    return below_autograd(operators.LAYER.default, *arguments)  # type: ignore[no-any-return]


_AUTOGRAD = library.Library("rnnfast", "IMPL")
"""Holds what is registered in it."""

_AUTOGRAD.impl(
    "layer",
    # Torch leaves out a last argument that has its default value.
    lambda *arguments: _differentiable(*(*arguments, False)[: len(LAYER_ARGUMENTS)]),
    "Autograd",
)


def _present(names: tuple[str, ...], values: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    return {name: each for name, each in zip(names, values, strict=True) if each is not None}


def _remember_layer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    call = dict(zip(LAYER_ARGUMENTS, inputs, strict=True))
    remember(ctx, {**call, "output": output[0], "reserve": output[3]})


def _remember_eager(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """As :func:`_remember_layer`, but with an output that is the caller's as well."""
    hidden, *_, reserve = output
    call = dict(zip(LAYER_ARGUMENTS, inputs, strict=True))
    remember(ctx, {**call, "output": watched(ctx, hidden), "reserve": reserve})


def _backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[1:9]
    call = recall(ctx)
    if is_changed(ctx, call["output"]):
        again = (*(call[name] for name in LAYER_ARGUMENTS[:-2]), KEEP_NOTHING, call["tf32"])
        call["output"] = below_autograd(operators.LAYER.default, *again)[0]
    call |= dict(zip(transforms.COTANGENTS, cotangents, strict=False))
    call |= {"input_gradient": needs[0], "state_gradient": needs[1]}
    arguments = (*(call[name] for name in BACKWARD_ARGUMENTS), needs)
    if torch.is_grad_enabled() or is_transformed():
        gradients = apply(LayerBackward, *arguments)
    else:
        gradients = LayerBackward.forward(*arguments)
    return None, *gradients, *(None,) * (len(LAYER_ARGUMENTS) - 9)


class _EagerLayer(torch.autograd.Function):
    """``rnnfast::layer`` where nothing traces or transforms it.

    One function, not two as :class:`_Layer`, for whose sake torch would read the signature at every call: a third of
    the time of a short step.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        results = below_autograd(operators.LAYER.default, *arguments)
        _remember_eager(ctx, arguments, results)
        return results  # type: ignore[no-any-return]

    backward = staticmethod(_backward)


class _Layer(torch.autograd.Function):
    """``rnnfast::layer`` with every derivative and under ``torch.func``."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        return operators.LAYER(*arguments)  # type: ignore[no-any-return]

    setup_context = staticmethod(_remember_layer)
    backward = staticmethod(_backward)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call = recall(ctx)
        results = transforms.pushed(transforms.outputs, call, _present(LAYER_ARGUMENTS, tangents))
        no_cell = () if call["c0"] is not None else (call["reserve"].new_zeros(0),)
        return *results, *no_cell, torch.zeros_like(call["reserve"])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        call = dict(zip(LAYER_ARGUMENTS, arguments, strict=True))
        results = ("output", "h_n", "c_n", "reserve")
        # Beneath the last transform it is a call as any other, without what torch takes to find the rules above.
        run = partial(apply, _Layer) if is_transformed() else _differentiable
        return transforms.mapped(run, info.batch_size, in_dims, call, results, sums=False)


class LayerBackward(torch.autograd.Function):
    """``rnnfast::layer_backward`` where it is differentiated or under ``torch.func``.

    Its last argument says of which primals the gradient is wanted; the others get None. Output and reserve are what the
    forward pass made of the primals: the derivatives by the primals hold what goes through those two, which have none
    of their own.
    """

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor | None, ...]:
        *operands, needs = arguments
        gradients = below_autograd(operators.LAYER_BACKWARD.default, *operands)
        return tuple(each if need else None for each, need in zip(gradients, needs, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        remember(ctx, dict(zip((*BACKWARD_ARGUMENTS, "needs"), inputs, strict=True)))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        seeds = _present(transforms.PRIMALS, cotangents)
        if not seeds:
            return (None,) * len(ctx.call)
        by = [name for name, need in zip(ctx.call, ctx.needs_input_grad, strict=True) if need]
        names = [name for name in by if name not in ("output", "reserve")]
        found = transforms.pulled(recall(ctx), names, seeds)
        return tuple(map(found.get, ctx.call))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call = recall(ctx)
        along = _present(tuple(call), tangents)
        along = {name: each for name, each in along.items() if name not in ("output", "reserve")}
        wanted = [n for n, need in zip(transforms.PRIMALS, call["needs"], strict=True) if need]
        found = transforms.pushed(lambda call: transforms.gradients(call, wanted), call, along)
        return tuple(map(found.get, transforms.PRIMALS))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        call = dict(zip((*BACKWARD_ARGUMENTS, "needs"), arguments, strict=True))
        results = tuple(f"grad_{name}" for name in transforms.PRIMALS)
        sums = any(call["needs"][transforms.PRIMALS.index("w_ih") :])
        differentiable = torch.is_grad_enabled() or is_transformed()
        run = partial(apply, LayerBackward) if differentiable else LayerBackward.forward
        return transforms.mapped(run, info.batch_size, in_dims, call, results, sums)


def layer(*arguments: Any) -> tuple[Tensor, ...]:
    """``rnnfast::layer`` with what a caller may ask of it here: a derivative, a graph or a transform."""
    if is_transformed():
        return apply(_Layer, *_settled(arguments, torch.is_grad_enabled()))  # type: ignore[no-any-return]
    if is_traced():
        return operators.LAYER(*arguments)  # type: ignore[no-any-return]
    return _differentiable(*arguments)
