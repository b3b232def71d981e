"""Weights that are packed once, for inference: :func:`freeze`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnfast.nn import ops, steps
from rnnfast.nn.cells import Cell
from rnnfast.nn.layers import Recurrent
from rnnfast.nn.stand_in import StandIn


@dataclass(frozen=True)
class Freezing:
    """What :func:`freeze` did: names of modules, "" being the model itself.

    Example:
        >>> print(freeze(nn.Sequential(nn.Linear(4, 4), rnnfast.GRU(4, 3))))
        froze 1
    """

    frozen: tuple[str, ...]
    left: dict[str, str]
    """Recurrent modules that stayed as they were, each with the reason."""

    def __str__(self) -> str:
        lines = [f"froze {name or '(the model itself)'}" for name in self.frozen]
        lines += [
            f"left {name or '(the model itself)'}: {reason}" for name, reason in self.left.items()
        ]
        return "\n".join(lines) or "no recurrent layers found"


def freeze(model: nn.Module) -> Freezing:
    """Packs the weights of the layers and cells of rnnfast inside a model once, for all calls that ask for no gradient.

    The packed weights are only read, so threads share them, and processes that are forked, or get the model through
    ``torch.multiprocessing``. A call under ``torch.no_grad()`` or ``torch.inference_mode()`` on the CPU uses them; any
    other one, or one within ``torch.compile``, ``torch.export`` and ``torch.func``, goes as before. Copies and pickles
    of the model are frozen as well.

    A change of the weights is noticed: the next call that would use the packed ones raises. A write through
    ``weight.data`` cannot be noticed, unless it moves the weight. Call ``freeze`` again after a change, or
    :func:`unfreeze`.

    Args:
        model: holds the layers; of torch's own ones none is frozen, see :func:`rnnfast.accelerate`.

    Returns:
        The names of the modules that were frozen, and of those that were left, with the reason.

    Example:
        >>> cell = rnnfast.GRUCell(4, 3)
        >>> freeze(cell).frozen
        ('',)
        >>> with torch.no_grad():
        ...     cell(torch.zeros(2, 4), torch.zeros(2, 3)).shape
        torch.Size([2, 3])
    """
    frozen = {}
    left = {}
    # All of them are packed before the first one changes: what fails on the way leaves the model as it was.
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Recurrent | Cell):
            reason = why_not(module)
            if reason is None:
                frozen[name] = module, PackedWeights(module)
            else:
                left[name] = reason
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            left[name] = "it is torch's own: call rnnfast.accelerate(model) before"
    for module, packed in frozen.values():
        module._frozen = packed
    return Freezing(tuple(frozen), left)


def unfreeze(model: nn.Module) -> None:
    """Takes back what :func:`freeze` did: the weights may change again, and each call reads them as they are."""
    for module in model.modules():
        if isinstance(module, StandIn):
            module.__dict__.pop("_frozen", None)


class Unchanged:
    """Whether some tensors are those that they were, by identity, version and address, which takes no look at them."""

    def __init__(self, named: Mapping[str, Tensor | None]) -> None:
        self._marks = [
            (name, each, each._version, each.data_ptr())
            for name, each in named.items()
            if each is not None
        ]

    def first_changed(self, named: Any) -> str | None:
        """The name of one that is another tensor or was written to, or None."""
        for name, tensor, version, address in self._marks:
            if (
                named.get(name) is not tensor
                or tensor._version != version
                or tensor.data_ptr() != address
            ):
                return name
        return None


class PackedWeights:
    """The packed weights of one module, in the order of its layers and directions."""

    def __init__(self, module: Recurrent | Cell) -> None:
        self.packed = _packed(module)
        self._unchanged: Unchanged | None = None
        self._remember(module)

    def __getstate__(self) -> dict[str, Any]:
        """The packed weights alone: where the module's own stand is another place in each copy of it."""
        return {"packed": self.packed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.packed = state["packed"]
        self._unchanged = None

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedWeights:
        copy = PackedWeights.__new__(PackedWeights)
        copy.__setstate__(self.__getstate__())  # nobody writes into them
        return copy

    def _remember(self, module: Recurrent | Cell) -> None:
        # Versions first: a write meanwhile is then a change.
        unchanged = Unchanged(module._parameters)
        layers = layers_of(module)
        self.dtype = layers[0][1]["w_ih"].dtype
        self.steps = [
            steps.arguments(cell, **weights, packed=packed)
            for (cell, weights), packed in zip(layers, self.packed, strict=True)
        ]
        self._unchanged = unchanged

    def check(self, module: Recurrent | Cell) -> None:
        """Raises RuntimeError if the module's weights are not those that were packed."""
        if self._unchanged is not None and not self._unchanged.first_changed(module._parameters):
            return
        # Moved, or in a copy of the module: what counts are the numbers.
        reason = why_not(module)
        if reason is None:
            now = _packed(module)
            same = len(now) == len(self.packed) and all(
                a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))
                for a, b in zip(now, self.packed, strict=True)
            )
            if same:
                return self._remember(module)
        name = self._unchanged and self._unchanged.first_changed(module._parameters)
        raise RuntimeError(
            f"rnnfast: {name or 'the weights'} must stay as rnnfast.freeze(model) found them, and changed"
            f"{f' ({reason})' if reason else ''}: call it again, or rnnfast.unfreeze(model)"
        )

    def step(
        self, module: Cell, input: Tensor, h: Tensor | None, c: Tensor | None = None
    ) -> tuple[Tensor, ...] | None:
        """A step of a cell, or None for a call that is not one for numbers alone, or is wrong."""
        if h is None or not steps.is_plain():
            return None
        self.check(module)
        tensors = (input, h) if c is None else (input, h, c)
        if not steps.all_in_memory(tensors, self.dtype):
            return None
        if torch.is_grad_enabled() and (
            steps.any_learns(tensors) or steps.any_learns(module._parameters.values())
        ):
            return None
        size, width = input.shape, module.hidden_size
        state = (size[0], width) if len(size) == 2 else (width,)
        if (
            not 1 <= len(size) <= 2
            or size[-1] != module.input_size
            or h.shape != state
            or (c is not None and c.shape != state)
        ):
            return None
        if len(size) == 1:
            input = input.unsqueeze(0)
        if self.dtype in ops.COMPUTED_DTYPES:
            return steps.step(self.steps[0], input, h, c)
        wide = steps.step(self.steps[0], input.float(), h.float(), None if c is None else c.float())
        return tuple(each.to(self.dtype) for each in wide)

    def stack_of(self, module: Recurrent) -> Any:
        """What to call in the place of :func:`rnnfast.nn.ops.stack`."""
        if not steps.is_plain():
            return ops.stack
        self.check(module)
        return self._stack

    def _stack(
        self,
        cell: str,
        input: Tensor,
        h0: Tensor | None,
        c0: Tensor | None,
        weights: Sequence[Sequence[Tensor | None]],
        *,
        directions: int = 1,
        dropout: float = 0.0,
        lengths: Tensor | None = None,
        batch_sizes: Tensor | None = None,
        batch_first: bool = False,
        recompute: bool = False,
    ) -> tuple[Tensor, ...]:
        states = tuple(each for each in (h0, c0) if each is not None)
        learns = torch.is_grad_enabled() and (
            steps.any_learns((input, *states)) or any(map(steps.any_learns, weights))
        )
        contiguous = input.contiguous()
        if (
            learns
            or batch_sizes is not None
            or input.numel() == 0
            or not steps.all_in_memory((contiguous, *states), self.dtype)
            or not are_lengths(lengths, input.shape[1 - batch_first], input.shape[batch_first])
        ):
            settings = {"lengths": lengths, "batch_sizes": batch_sizes, "batch_first": batch_first}
            return ops.stack(
                cell,
                input,
                h0,
                c0,
                weights,
                directions=directions,
                dropout=dropout,
                recompute=recompute,
                **settings,  # type: ignore[arg-type]
            )
        wide = torch.promote_types(self.dtype, torch.float32)
        x = contiguous.to(wide)
        if not states:
            w_hh = weights[0][1]
            assert w_hh is not None
            rows, hidden = x.shape[1 - batch_first], w_hh.shape[0] // ops.CELLS[cell]
            states = zeros_for(cell, x, len(weights), rows, w_hh.shape[1], hidden)
        states = tuple(each.to(wide) for each in states)
        results = run_stack(self.steps, x, states, directions, dropout, lengths, batch_first)
        return tuple(each.to(self.dtype) for each in results)


def run_stack(
    layers: Sequence[tuple[int, ...]],
    input: Tensor,
    states: tuple[Tensor, ...],
    directions: int,
    dropout: float,
    lengths: Tensor | None,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """What :func:`rnnfast.nn.ops.stack` gives, by layers and directions as :func:`steps.layer` takes their weights."""
    x, last = input, []
    before = [tuple(each) for each in zip(*states, strict=True)]
    for place in range(0, len(layers), directions):
        if place > 0 and dropout > 0:
            x = nn.functional.dropout(x, dropout)
        outputs = []
        for here in range(place, place + directions):
            output, *after = steps.layer(
                layers[here], x, before[here], lengths, batch_first, here > place
            )
            outputs.append(output)
            last.append(after)
        x = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    return x, *(torch.stack(each) for each in zip(*last, strict=True))


def zeros_for(
    cell: str, input: Tensor, layers: int, rows: int, width: int, hidden: int
) -> tuple[Tensor, ...]:
    """The states before the first step where none are given: (layers, rows, width), of an LSTM also its cell's."""
    h0 = input.new_zeros(layers, rows, width)
    if cell != "lstm":
        return (h0,)
    return h0, input.new_zeros(layers, rows, hidden)


def are_lengths(lengths: Tensor | None, rows: int, time: int) -> bool:
    """Whether lengths, if there are any, may go to a compiled function as they are."""
    if lengths is None:
        return True
    if lengths.shape != (rows,) or not steps.all_in_memory((lengths,), torch.int64):
        return False
    least, most = lengths.aminmax()
    return bool(least >= 1) and bool(most <= time)


def layers_of(module: Recurrent | Cell) -> list[tuple[int, dict[str, Any]]]:
    """Of each layer and direction the number of the cell, and the weights by the names that the operators have."""
    if isinstance(module, Cell):
        cell, places = (
            module._cell,
            [[module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh]],
        )
    else:
        cell, places = module.mode.lower(), module._weights()
    number, names = ops.NUMBERS[cell], ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
    return [(number, dict(zip(names, each, strict=False))) for each in places]


def _packed(module: Recurrent | Cell) -> list[Tensor]:
    return [steps.pack(cell, **weights) for cell, weights in layers_of(module)]


def why_not(module: nn.Module) -> str | None:
    """The reason why a module cannot be frozen, or None."""
    if not isinstance(module, Recurrent | Cell):
        return f"it must be a layer or cell of rnnfast, got: {type(module).__qualname__}"
    if nn.utils.parametrize.is_parametrized(module):
        return "it is parametrized, so that its weights are made at every call"
    try:
        weights = [w for _, each in layers_of(module) for w in each.values() if w is not None]
    except (AttributeError, KeyError) as error:
        return f"it has no weights of its own: {error}"
    if {id(w) for w in weights} != {id(p) for p in module._parameters.values() if p is not None}:
        return "a wrapper sets its weights at every call"
    first = weights[0]
    if first.device.type != "cpu":
        return f"its device must be cpu, got: {first.device.type}"
    if first.dtype not in (*ops.COMPUTED_DTYPES, *ops.NARROW_DTYPES):
        return f"its dtype must be float32, float64, float16 or bfloat16, got: {first.dtype}"
    if not steps.all_in_memory(weights, first.dtype):
        return "its weights must be contiguous, in memory, and of one dtype"
    if any(w.is_inference() for w in weights):
        return "its weights were made in inference mode, where no change is noticed"
    return None
