"""What puts the layers of rnnfast into a model of torch's, and takes them out again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnfast.nn import ops
from rnnfast.nn.cells import GRUCell, LSTMCell, RNNCell
from rnnfast.nn.layers import GRU, LSTM, RNN

REPLACEMENTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN,
    nn.GRU: GRU,
    nn.LSTM: LSTM,
    nn.RNNCell: RNNCell,
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
}
"""What :func:`accelerate` puts in the place of what."""

_ORIGINALS = {ours: theirs for theirs, ours in REPLACEMENTS.items()}

_RECURRENT_NAMES = {"RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"}


@dataclass(frozen=True)
class Acceleration:
    """What :func:`accelerate` or :func:`restore` did: names of modules, "" being the model itself.

    A module that stands in the model under two names is there under both.

    Example:
        >>> print(accelerate(nn.Sequential(nn.Linear(4, 4), nn.GRU(4, 3))))
        swapped 1
    """

    swapped: tuple[str, ...]
    left: dict[str, str]
    """Recurrent modules that stayed as they were, each with the reason."""

    def __str__(self) -> str:
        lines = [f"swapped {name or '(the model itself)'}" for name in self.swapped]
        lines += [
            f"left {name or '(the model itself)'}: {reason}" for name, reason in self.left.items()
        ]
        return "\n".join(lines) or "no recurrent layers found"


def accelerate(model: nn.Module) -> Acceleration:
    """Swaps the recurrent layers inside a model for those of rnnfast, in place.

    A module stays the very object it was, with its parameters, hooks and names; only its class changes. So an optimizer
    made before goes on working, and so does every other reference to the module. :func:`restore` undoes it.

    Returns:
        The names of the modules that were swapped, and of those that were left, with the reason.
    """
    return _swap(model, REPLACEMENTS, _why_left)


def restore(model: nn.Module) -> Acceleration:
    """Swaps the layers of rnnfast inside a model for those of ``torch.nn``, in place: undoes :func:`accelerate`.

    A module stays the very object it was, with its parameters, hooks and names. A layer that was constructed as one of
    rnnfast's becomes torch's as well. Torch's layers take no ``lengths``.

    Returns:
        The names of the modules that were swapped, and of those that were left, with the reason.
    """
    return _swap(model, _ORIGINALS, _why_kept)


def _swap(
    model: nn.Module,
    classes: dict[type[nn.Module], type[nn.Module]],
    why_not: Callable[[nn.Module], str | None],
) -> Acceleration:
    swapped: dict[str, nn.Module] = {}
    left = {}
    # All of them are looked at before the first one changes: what fails on the way leaves the model as it was.
    for name, module in model.named_modules(remove_duplicate=False):
        reason = why_not(module)
        if reason is not None:
            left[name] = reason
        elif type(module) in classes:
            swapped[name] = module
    modules = {id(each): each for each in swapped.values()}.values()
    for module in modules:
        module.__class__ = classes[type(module)]
        module.__dict__.pop("_frozen", None)  # of what freeze packed torch's know nothing
    for module in modules:
        if isinstance(module, nn.RNNBase):
            module._init_flat_weights()  # torch's list of them, and on a GPU their place
    return Acceleration(tuple(swapped), left)


def _why_left(module: nn.Module) -> str | None:
    """The reason why a recurrent module cannot be one of rnnfast's, or None; None also for any other module."""
    kind = type(module)
    if kind in REPLACEMENTS:
        return _why_not_served(module)
    if kind in _ORIGINALS:
        return None
    if isinstance(module, torch.jit.ScriptModule):
        if getattr(module, "original_name", "") not in _RECURRENT_NAMES:
            return None
        return "it is compiled by TorchScript: call accelerate before, and torch.export instead"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        if isinstance(module, tuple(_ORIGINALS)):
            return None
        if nn.utils.parametrize.is_parametrized(module):
            return "it is parametrized: call accelerate before register_parametrization"
        return f"its type must be {_any_of(REPLACEMENTS)}, got: {_name(kind)}"
    if kind.__module__.startswith("torch.ao.nn") and kind.__name__ in _RECURRENT_NAMES:
        return f"it is quantized, and rnnfast computes with floats, got: {_name(kind)}"
    return None


def _why_not_served(module: nn.Module) -> str | None:
    weights: dict[str, Tensor] = {}
    names: Iterable[str] = (
        module._flat_weights_names
        if isinstance(module, nn.RNNBase)
        else ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if module.bias else ()))
    )
    for name in names:
        weights[name] = getattr(module, name, None)  # type: ignore[assignment]
        if not isinstance(weights[name], Tensor):
            ours = REPLACEMENTS[type(module)].__name__
            return f"it has no {name}, which a wrapper may set at every call: construct rnnfast.{ours} there"
    first, *others = weights.items()
    for name, weight in others:
        for attribute in ("dtype", "device"):
            one, other = getattr(first[1], attribute), getattr(weight, attribute)
            if one != other:
                return (
                    f"its weights must share one {attribute}, got: {first[0]} {one}, {name} {other}"
                )
    return ops.why_not(first[1].device, first[1].dtype)


def _why_kept(module: nn.Module) -> str | None:
    """The reason why a layer of rnnfast cannot be torch's again, or None; None also for any other module."""
    if type(module) in _ORIGINALS or not isinstance(module, tuple(_ORIGINALS)):
        return None
    if nn.utils.parametrize.is_parametrized(module):
        return "it is parametrized: call remove_parametrizations before restore"
    return f"its type must be {_any_of(_ORIGINALS)}, got: {_name(type(module))}"


def _any_of(classes: dict[type[nn.Module], type[nn.Module]]) -> str:
    names = [
        f"{'torch.nn' if each in REPLACEMENTS else 'rnnfast'}.{each.__name__}" for each in classes
    ]
    return f"one of {', '.join(names)}"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
