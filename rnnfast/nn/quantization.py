"""Weights as bytes, for inference on the CPU: :func:`quantize`.

A row of a weight matrix, one gate of one hidden unit, is bytes times one scale: its largest magnitude over 127. The
kernels make bytes of the inputs and hidden states as they go; how, is said in csrc/cpu/int8/forward.inl, and how the
packed bytes stand in memory in csrc/cpu/int8/layout.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnfast.nn import ops, steps
from rnnfast.nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from rnnfast.nn.freezing import are_lengths, layers_of, run_stack, why_not, zeros_for
from rnnfast.nn.layers import GRU, LSTM, RNN, Recurrent, State

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_GATES = {
    "rnn_tanh": ((0,), (0,)),
    "rnn_relu": ((0,), (0,)),
    "gru": ((0, 1, 2, None), (0, 1, None, 2)),
    "lstm": ((0, 1, 2, 3), (0, 1, 2, 3)),
}
"""For each cell the gates of W_ih and of W_hh that its sums have, as in csrc/cells."""

_UNITS, _WORD, _MARGIN = 16, 4, 15 * 64


@dataclass(frozen=True)
class Quantization:
    """What :func:`quantize` did: names of modules, "" being the model itself.

    Example:
        >>> print(quantize(nn.Sequential(nn.Linear(4, 4), rnnfast.GRU(4, 3))))
        quantized 1
    """

    quantized: tuple[str, ...]
    left: dict[str, str]
    """Recurrent modules that stayed as they were, each with the reason."""

    def __str__(self) -> str:
        lines = [f"quantized {name or '(the model itself)'}" for name in self.quantized]
        lines += [
            f"left {name or '(the model itself)'}: {reason}" for name, reason in self.left.items()
        ]
        return "\n".join(lines) or "no recurrent layers found"


def quantize(model: nn.Module) -> Quantization:
    """Makes the weights of the layers and cells of rnnfast inside a model int8, in place, for inference on the CPU.

    A module stays the very object it was, but its weights become one buffer of bytes for each layer and direction, a
    quarter of their memory; the floats are gone. Inputs, results, biases, activations and cell states stay floats. No
    calibration is needed: each row of an input gets its scale at each step, and hidden states lie between -1 and 1, but
    for those of a relu RNN and behind a projection, which get a scale at each step as well. A NaN or an infinity in a
    row of the input or in its first state makes all results of that row NaN from that step on.

    State dicts, copies and pickles hold the bytes, which are the same for every processor. To load a saved state dict,
    quantize a model of the same sizes before. ``torch.compile`` and ``torch.export`` work; training does not.

    Args:
        model: holds the layers, in float32, bfloat16 or float16; torch's own ones stay, see
            :func:`rnnfast.accelerate`.

    Returns:
        The names of the modules that were quantized, and of those that were left, with the reason.

    Example:
        >>> layer = rnnfast.GRU(4, 3).eval()
        >>> quantize(layer).quantized
        ('',)
        >>> with torch.inference_mode():
        ...     layer(torch.zeros(5, 2, 4))[0].shape
        torch.Size([5, 2, 3])
    """
    packed: dict[str, tuple[nn.Module, dict[str, Tensor]]] = {}
    left = {}
    # All of them are packed before the first one changes: what fails on the way leaves the model as it was.
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Recurrent | Cell):
            reason = _why_left(module)
            if reason is None:
                packed[name] = module, _packed(module)
            else:
                left[name] = reason
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            left[name] = "it is torch's own: call rnnfast.accelerate(model) before"
    for module, buffers in packed.values():
        if type(module) in _QUANTIZED:  # not yet, if it stands there under two names
            module.__class__ = _QUANTIZED[type(module)]
            module.__dict__.pop("_frozen", None)
            for parameter in list(module._parameters):
                delattr(module, parameter)
            for buffer, values in buffers.items():
                module.register_buffer(buffer, values)
            if isinstance(module, nn.RNNBase):
                module._init_flat_weights()  # torch's list of them
    return Quantization(tuple(packed), left)


def row_scales(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (rows, columns) as int8, the nearest whole numbers to weight / scale, and the scale of each row."""
    scale = weight.abs().amax(1) / 127
    inverse = torch.where(scale > 0, 1 / scale, 0.0)
    return (weight * inverse.unsqueeze(1)).round().clamp(-127, 127).to(torch.int8), scale


def pack(
    cell: str,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    w_hr: Tensor | None = None,
) -> Tensor:
    """The bytes of a layer in one direction as the kernels read them, one-dimensional uint8: csrc/cpu/int8/layout.h."""
    hidden = w_hh.shape[0] // ops.CELLS[cell]
    given = {
        name: None if each is None else each.detach().float()
        for name, each in (("x", w_ih), ("h", w_hh), ("b_ih", b_ih), ("b_hh", b_hh))
    }
    bytes_of = {name: row_scales(given[name]) for name in ("x", "h")}  # type: ignore[arg-type]
    parts = []
    for x_gate, h_gate in zip(*_GATES[cell], strict=True):
        rows = {
            name: None if gate is None else slice(gate * hidden, (gate + 1) * hidden)
            for name, gate in (("x", x_gate), ("h", h_gate))
        }
        bias = torch.zeros(hidden)
        for name, which in (("b_ih", "x"), ("b_hh", "h")):
            if given[name] is not None and rows[which] is not None:
                bias += given[name][rows[which]]  # type: ignore[index]
        scales, offsets, words = [], [], []
        for name in ("x", "h"):
            if rows[name] is None:
                scales.append(torch.zeros(hidden))
                offsets.append(torch.zeros(hidden, dtype=torch.int32))
            else:
                values, scale = (each[rows[name]] for each in bytes_of[name])
                # A state has its own scale, 1/127 where it lies between -1 and 1.
                scales.append(scale)
                offsets.append(_offsets(values))
                words.append(_words(values))
        heads = [_lines(each) for each in (bias, *scales, *offsets)]
        parts.append(torch.cat([*heads, *words], 1))
    found = [torch.cat(parts, 1).flatten()]
    if w_hr is not None:
        values, scale = row_scales(w_hr.detach().float())
        lines = [_lines(scale), _lines(_offsets(values)), _words(values)]
        found.append(torch.cat(lines, 1).flatten())
    return torch.cat([*found, torch.zeros(_MARGIN, dtype=torch.uint8)])


def _offsets(values: Tensor) -> Tensor:
    return -128 * values.sum(1, dtype=torch.int32)


def _lines(values: Tensor) -> Tensor:
    """Four bytes for each unit, as (panels, 64): zeros for units that are not there."""
    padded = nn.functional.pad(values, (0, -len(values) % _UNITS))
    return padded.contiguous().view(torch.uint8).reshape(-1, _UNITS * _WORD)


def _words(values: Tensor) -> Tensor:
    """A matrix (rows, depth) as (panels, words of the depth * 64)."""
    rows, depth = values.shape
    padded = nn.functional.pad(values, (0, -depth % _WORD, 0, -rows % _UNITS)).view(torch.uint8)
    panels = padded.reshape(-1, _UNITS, padded.shape[1] // _WORD, _WORD).transpose(1, 2)
    return panels.reshape(len(panels), -1)


def _why_left(module: Recurrent | Cell) -> str | None:
    if isinstance(module, Quantized):
        return "it is quantized already"
    if type(module) not in _QUANTIZED:
        return f"its class is derived from a layer of rnnfast, got: {type(module).__qualname__}"
    reason = why_not(module)
    if reason is not None:
        return reason
    weights = [w for _, each in layers_of(module) for w in each.values() if w is not None]
    if weights[0].dtype not in _DTYPES:
        return f"its dtype must be float32, bfloat16 or float16, got: {weights[0].dtype}"
    if not all(bool(w.isfinite().all()) for w in weights):
        return "its weights must be finite numbers"
    return None


def _packed(module: Recurrent | Cell) -> dict[str, Tensor]:
    cells = tuple(ops.CELLS)
    return {
        name: pack(cells[cell], **weights)
        for name, (cell, weights) in zip(_names(module), layers_of(module), strict=True)
    }


def _names(module: nn.Module) -> list[str]:
    """Of the buffers of bytes, in the order of layers and directions."""
    if not isinstance(module, nn.RNNBase):
        return ["packed"]
    ends = ("", "_reverse") if module.bidirectional else ("",)
    return [f"packed_l{layer}{end}" for layer in range(module.num_layers) for end in ends]


class Quantized(nn.Module):
    """What quantized layers and cells share, beside what those of floats do."""

    def __prepare_scriptable__(self) -> nn.Module:
        raise RuntimeError(
            "torch.jit.script cannot compile a quantized layer of rnnfast: use torch.export"
        )

    def _refuse_training(self, tensors: tuple[Tensor | None, ...]) -> None:
        if self.training:
            raise RuntimeError(
                "rnnfast: a quantized layer must be in evaluation mode, since it cannot learn: call model.eval()"
            )
        if torch.is_grad_enabled() and steps.any_learns(tensors):
            raise RuntimeError(
                "rnnfast: the input of a quantized layer must not require a gradient, since there is none: "
                "call it under torch.inference_mode() or torch.no_grad()"
            )

    def _buffers_of(self) -> list[Tensor]:
        return [getattr(self, name) for name in _names(self)]


def _checked(input: Tensor, states: tuple[Tensor, ...]) -> None:
    for name, each in (("input", input), *zip(("h0", "c0"), states, strict=False)):
        if each.device.type not in ("cpu", "meta"):
            raise RuntimeError(
                f"rnnfast: {name} of a quantized layer must be on the CPU, got: {each.device}"
            )
        if each.dtype not in _DTYPES:
            raise RuntimeError(
                f"rnnfast: {name} of a quantized layer must be float32, bfloat16 or float16, got: {each.dtype}"
            )


class _QuantizedLayer(Quantized):
    """The stack of a quantized layer; mixed into the layers."""

    def _run(
        self: Any,
        input: Tensor,
        state: State | None,
        lengths: Tensor | None,
        batch_sizes: Tensor | None,
    ) -> tuple[Tensor, State]:
        self._check_options(state)
        given = state or ()
        self._refuse_training((input, *given))
        _checked(input, given)
        if batch_sizes is not None and int(batch_sizes[0]) > input.shape[0]:
            raise RuntimeError(  # or the state would be as large as it likes
                f"batch_sizes must add up to {input.shape[0]}, got: {int(batch_sizes[0])} in the first"
            )
        if not given:
            self.check_input(input, batch_sizes)
        else:
            self.check_forward_args(input, given if len(given) == 2 else given[0], batch_sizes)
        cell, directions = self.mode.lower(), 2 if self.bidirectional else 1
        packed, dtype = self._buffers_of(), input.dtype
        x, wide = input.float(), tuple(each.float() for each in given)
        if not wide:
            rows = (
                x.shape[1 - int(self.batch_first)] if batch_sizes is None else int(batch_sizes[0])
            )
            widths = (self.proj_size or self.hidden_size, self.hidden_size)
            wide = zeros_for(cell, x, len(packed), rows, *widths)
        contiguous = x.contiguous()
        if (
            batch_sizes is None
            and steps.is_plain()
            and x.numel() > 0
            and steps.all_in_memory((contiguous, *wide), torch.float32)
            and steps.all_in_memory(packed, torch.uint8)
            and are_lengths(lengths, x.shape[1 - self.batch_first], x.shape[self.batch_first])
        ):
            sizes = self.hidden_size, self.proj_size
            layers = []
            for place, each in enumerate(packed):
                inputs = self.input_size if place < directions else directions * wide[0].shape[-1]
                layers.append(steps.quantized(ops.NUMBERS[cell], inputs, *sizes, each))
            results = run_stack(
                layers, contiguous, wide, directions, 0.0, lengths, self.batch_first
            )
        else:
            results = ops.quantized_stack(
                cell, x, wide, packed, directions, lengths, batch_sizes, self.batch_first
            )
        output, *last = (each.to(dtype) for each in results)
        return output, tuple(last)


class _QuantizedCell(Quantized):
    """A step of a quantized cell; mixed into the cells."""

    def _step(self: Any, input: Tensor, state: State | None) -> State:
        self._refuse_training((input, *(state or ())))
        is_batched = input.dim() == 2
        if not is_batched:
            input = input.unsqueeze(0)
            state = None if state is None else tuple(each.unsqueeze(0) for each in state)
        cell = self._cell
        if state is None:
            zeros = input.new_zeros(input.shape[0], self.hidden_size)
            state = (zeros, zeros) if cell == "lstm" else (zeros,)
        self._check(input, state)
        _checked(input, state)
        dtype, (packed,) = input.dtype, self._buffers_of()
        x, wide = input.float().contiguous(), tuple(each.float().contiguous() for each in state)
        if (
            steps.is_plain()
            and steps.all_in_memory((x, *wide), torch.float32)
            and steps.all_in_memory((packed,), torch.uint8)
        ):
            weights = steps.quantized(
                ops.NUMBERS[cell], self.input_size, self.hidden_size, 0, packed
            )
            after = steps.step(weights, x, wide[0], wide[1] if cell == "lstm" else None)
        else:
            after = ops.quantized_layer(
                cell, x.unsqueeze(0), wide[0], packed, c0=wide[1] if cell == "lstm" else None
            )[1:]
        return tuple(each.to(dtype) if is_batched else each.to(dtype).squeeze(0) for each in after)


class QuantizedRNN(_QuantizedLayer, RNN):
    """What :func:`quantize` makes of an :class:`RNN`."""


class QuantizedGRU(_QuantizedLayer, GRU):
    """What :func:`quantize` makes of a :class:`GRU`."""


class QuantizedLSTM(_QuantizedLayer, LSTM):
    """What :func:`quantize` makes of an :class:`LSTM`."""


class QuantizedRNNCell(_QuantizedCell, RNNCell):
    """What :func:`quantize` makes of an :class:`RNNCell`."""


class QuantizedGRUCell(_QuantizedCell, GRUCell):
    """What :func:`quantize` makes of a :class:`GRUCell`."""


class QuantizedLSTMCell(_QuantizedCell, LSTMCell):
    """What :func:`quantize` makes of an :class:`LSTMCell`."""


_QUANTIZED: dict[type[nn.Module], type[nn.Module]] = {
    RNN: QuantizedRNN,
    GRU: QuantizedGRU,
    LSTM: QuantizedLSTM,
    RNNCell: QuantizedRNNCell,
    GRUCell: QuantizedGRUCell,
    LSTMCell: QuantizedLSTMCell,
}
