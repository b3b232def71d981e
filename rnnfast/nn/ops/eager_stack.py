"""A stack as one function of autograd, so that a short call does not take its time for every layer."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnfast.nn.ops import operators
from rnnfast.nn.ops.autograd import LayerBackward
from rnnfast.nn.ops.modes import apply, is_transformed
from rnnfast.nn.ops.one_layer import layer_by_layer
from rnnfast.nn.ops.operators import (
    CELLS_IF_NEEDED,
    KEEP_CELLS,
    KEEP_NOTHING,
    below_autograd,
    called,
)
from rnnfast.nn.ops.saved import is_changed, watched
from rnnfast.nn.ops.support import CELLS


class StackCall(NamedTuple):
    """The calls of ``rnnfast::layer`` that a stack is, below autograd."""

    cell: int
    directions: int
    options: tuple[Any, ...]
    """lengths, batch_sizes and batch_first."""
    keep: int
    tf32: bool

    def forward(
        self,
        input: Tensor,
        h0s: Sequence[Tensor],
        c0s: Sequence[Tensor | None],
        weights: Sequence[Sequence[Tensor | None]],
    ) -> tuple[tuple[Tensor, ...], tuple[list[Tensor], ...]]:
        """What :func:`rnnfast.nn.ops.stack` returns, for an LSTM or another cell; for the backward pass each layer's
        input and, for each layer and direction, its output and its reserve.
        """
        cell, directions, options, keep, tf32 = self
        inputs, outputs, h_ns, c_ns, reserves = [], [], [], [], []
        for place, each in enumerate(weights):
            reverse = place % directions == 1
            if not reverse:
                inputs.append(input)
            output, h_n, c_n, reserve = called(
                operators.LAYER.default,
                cell,
                input,
                h0s[place],
                c0s[place],
                *each,
                *options,
                reverse,
                keep,
                tf32,
            )
            outputs.append(output)
            h_ns.append(h_n)
            c_ns.append(c_n)
            reserves.append(reserve)
            if reverse:
                input = torch.cat(outputs[-2:], -1)
            elif directions == 1:
                input = output
        states = [
            each[0].unsqueeze(0) if len(each) == 1 else torch.stack(each)
            for each in ((h_ns,) if c0s[0] is None else (h_ns, c_ns))
        ]
        return (input, *states), (inputs, outputs, reserves)


class EagerStack(torch.autograd.Function):
    """:func:`rnnfast.nn.ops.stack` where nothing traces or transforms it.

    The operands are h0s, c0s, and the weights one by one.
    """

    @staticmethod
    def forward(ctx: Any, call: StackCall, input: Tensor, *operands: Any) -> tuple[Tensor, ...]:
        count = len(operands) // 7
        call = call._replace(keep=call.keep - CELLS_IF_NEEDED + KEEP_CELLS)
        with torch._C._AutoDispatchBelowAutograd():
            results, inner = call.forward(
                input, operands[:count], operands[count : 2 * count], _by_place(operands, count)
            )
            inputs, outputs, reserves = inner
            if call.directions == 1:  # the last of them is the caller's
                outputs[-1] = watched(ctx, outputs[-1])
        ctx.set_materialize_grads(False)
        ctx.call, ctx.count = call, count
        ctx.save_for_backward(input, *operands, *outputs, *reserves, *inputs[1:])
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call, count, needs = ctx.call, ctx.count, ctx.needs_input_grad[1:]
        again = torch.is_grad_enabled() and not is_transformed()
        if again and count > 1:  # what is between the layers has to be differentiated too
            tensors = ctx.saved_tensors[: 1 + 7 * count]
            return None, *_differentiated(call, tensors, needs, cotangents)
        run = partial(apply, LayerBackward) if again or is_transformed() else LayerBackward.forward
        places, outputs, reserves = _places(ctx)
        if is_changed(ctx, outputs[-1]):
            outputs[-1] = below_autograd(
                operators.LAYER.default,
                call.cell,
                *places[-1],
                *call.options,
                False,
                KEEP_NOTHING,
                call.tf32,
            )[0]
        grad_output, grad_h_n, grad_c_n = (*cotangents, None)[:3]
        found: list[Tensor | None] = [None] * (1 + 7 * count)
        needed = [any(needs[n] for n in _operands_of(place, count)) for place in range(count)]
        of_place: Any
        for place in reversed(range(count)):
            first = place - place % call.directions
            if place == first + call.directions - 1:
                halves = _halves(grad_output, call.directions)
                grad_output = None
            wanted = needs[0] or any(needed[:first])
            if not wanted and not needed[place]:
                continue
            primals = (wanted, *(needs[n] for n in _operands_of(place, count)))
            of_place = run(
                call.cell,
                halves[place - first],
                None if grad_h_n is None else grad_h_n[place],
                None if grad_c_n is None else grad_c_n[place],
                *places[place],
                outputs[place],
                reserves[place],
                *call.options,
                place > first,
                wanted,
                call.tf32,
                primals[1],
                primals,
            )
            if wanted:
                grad_output = of_place[0] if grad_output is None else grad_output + of_place[0]
            for n, gradient in zip(_operands_of(place, count), of_place[1:], strict=True):
                found[n] = gradient
        found[0] = grad_output if needs[0] else None
        return None, *found


def _places(ctx: Any) -> tuple[list[tuple[Any, ...]], list[Tensor], list[Tensor]]:
    """For each layer and direction of a stack its primals, its output and its reserve."""
    saved, count, directions = ctx.saved_tensors, ctx.count, ctx.call.directions
    input, operands = saved[0], saved[1 : 1 + 7 * count]
    outputs, reserves, between = (
        list(saved[1 + n * count : 1 + (n + 1) * count]) for n in (7, 8, 9)
    )
    inputs, weights = [input, *between], _by_place(operands, count)
    places = [
        (inputs[place // directions], operands[place], operands[count + place], *weights[place])
        for place in range(count)
    ]
    return places, outputs, reserves


def _halves(grad_output: Tensor | None, directions: int) -> Sequence[Tensor | None]:
    """Each direction's part of the gradient of a layer's output."""
    if grad_output is None:
        return (None,) * directions
    return grad_output.chunk(2, -1) if directions == 2 else (grad_output,)


def _by_place(operands: Sequence[Any], count: int) -> list[Any]:
    """The weights among the operands, for each layer and direction."""
    return [operands[n : n + 5] for n in range(2 * count, 7 * count, 5)]


def _operands_of(place: int, count: int) -> tuple[int, ...]:
    """Of a layer and direction, h0, c0 and the weights: their places behind the input."""
    weights = 1 + 2 * count + 5 * place
    return (1 + place, 1 + count + place, *range(weights, weights + 5))


def _differentiated(
    call: StackCall,
    tensors: Sequence[Any],
    needs: Sequence[bool],
    cotangents: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients of a stack in operations that can be differentiated again, after one more forward pass."""
    count = (len(tensors) - 1) // 7
    input, *operands = tensors
    places = list(
        zip(operands[:count], operands[count : 2 * count], _by_place(operands, count), strict=True)
    )
    options = dict(zip(("lengths", "batch_sizes", "batch_first"), call.options, strict=True))
    results = layer_by_layer(
        tuple(CELLS)[call.cell],
        input,
        places,
        call.directions,
        recompute=call.keep == KEEP_CELLS,
        **options,
    )
    given = [(y, g) for y, g in zip(results, cotangents, strict=True) if g is not None]
    wanted = [tensor for tensor, need in zip(tensors, needs, strict=True) if need]
    gradients = iter(
        torch.autograd.grad(
            [y for y, _ in given],
            wanted,
            [g for _, g in given],
            create_graph=True,
            allow_unused=True,
        )
    )
    return [next(gradients) if need else None for need in needs]
