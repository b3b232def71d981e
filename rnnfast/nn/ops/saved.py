"""What a backward pass has of its forward pass."""

from typing import Any

import torch
from torch import Tensor

from rnnfast.nn.ops.modes import is_transformed


def remember(ctx: Any, call: dict[str, Any]) -> None:
    """Keeps the arguments of an operator, by name."""
    tensors = {name: value for name, value in call.items() if isinstance(value, Tensor)}
    ctx.call = {name: None if name in tensors else value for name, value in call.items()}
    ctx.tensors = tuple(tensors)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors.values())
    if is_transformed():
        ctx.save_for_forward(*tensors.values())


def recall(ctx: Any) -> dict[str, Any]:
    """What :func:`remember` kept."""
    return {**ctx.call, **dict(zip(ctx.tensors, ctx.saved_tensors, strict=True))}


_NO_NUMBERS = torch.empty(0)


def _versions(tensor: Tensor) -> Tensor:
    """A tensor without numbers whose ``_version`` is that of another one, now and later."""
    same = tensor.detach()
    same.data = _NO_NUMBERS if tensor.is_cpu else tensor.new_empty(0)
    return same


def watched(ctx: Any, output: Tensor) -> Tensor:
    """What to keep of an output that is the caller's as well; :func:`is_changed` tells whether it can be used.

    The caller may write into the output or free it, as with torch's layers, which keep the hidden states twice for
    that. Here the backward pass looks whether they are as they were, and else computes them again. In a graph they are
    a copy, which torch's compiler leaves out where nobody writes.
    """
    if type(output) is not Tensor:
        ctx.versions = None
        return output.clone()
    ctx.versions = _versions(output)
    ctx.version = ctx.versions._version
    return output.data


def is_changed(ctx: Any, kept: Tensor) -> bool:
    """Whether somebody wrote into a :func:`watched` output since, or freed it."""
    return getattr(ctx, "versions", None) is not None and (
        ctx.versions._version != ctx.version or not kept.untyped_storage().nbytes()
    )
