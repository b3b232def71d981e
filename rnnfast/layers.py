"""Drop-in replacements for the recurrent layers of ``torch.nn``, and what puts them into a model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnfast import ops

State = tuple[Tensor, ...]
"""Hidden state, and for an LSTM cell state: (layers * directions, N, width) each."""


class _Recurrent(nn.RNNBase):
    """What the layers share: the stack, both directions, and torch's shapes of input and state."""

    recompute = False

    def flatten_parameters(self) -> None:
        """Nothing to do: the kernels pack the weights themselves. Here because callers of torch.nn call it."""

    def _forward(
        self, input: Tensor | PackedSequence, state: State | None, lengths: Tensor | None
    ) -> tuple[Tensor | PackedSequence, State]:
        if state is not None and len(state) != (2 if self.mode == "LSTM" else 1):
            raise RuntimeError(f"hx must be a pair of tensors for an LSTM, got: {len(state)}")
        if lengths is not None and not isinstance(lengths, Tensor):
            raise TypeError(f"lengths must be a tensor, got: {type(lengths).__name__}")
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths must be None for a PackedSequence, which has its own")
            return self._run_packed(input, state)
        if input.dim() not in (2, 3):
            name = type(self).__name__
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        for each in () if state is None else state:
            if each.dim() != input.dim():
                raise RuntimeError(
                    f"For {'' if input.dim() == 3 else 'un'}batched {input.dim()}-D input, "
                    f"hx should also be {input.dim()}-D but got {each.dim()}-D tensor"
                )
        if input.dim() == 3:
            return self._run(input, state, lengths, None)
        batch = 0 if self.batch_first else 1
        one_row = None if state is None else tuple(each.unsqueeze(1) for each in state)
        output, last = self._run(input.unsqueeze(batch), one_row, lengths, None)
        return output.squeeze(batch), tuple(each.squeeze(1) for each in last)

    def _run_packed(
        self, input: PackedSequence, state: State | None
    ) -> tuple[PackedSequence, State]:
        sizes = input.batch_sizes
        if sizes.dim() != 1 or sizes.is_floating_point():
            raise TypeError(f"batch_sizes must be int64 of one dimension, got: {sizes}")
        if state is not None and input.sorted_indices is not None:
            state = tuple(each.index_select(1, input.sorted_indices) for each in state)
        output, last = self._run(input.data, state, None, sizes)
        if input.unsorted_indices is not None:
            last = tuple(each.index_select(1, input.unsorted_indices) for each in last)
        packed = PackedSequence(output, sizes, input.sorted_indices, input.unsorted_indices)
        return packed, last

    def _run(
        self,
        input: Tensor,
        state: State | None,
        lengths: Tensor | None,
        batch_sizes: Tensor | None,
    ) -> tuple[Tensor, State]:
        weights = self._weights()
        dtype = weights[0]["w_ih"].dtype
        if input.device.type != "meta" and torch.is_autocast_enabled(input.device.type):
            if input.is_cuda and dtype != torch.float64:
                # As torch.nn there: all of it in the narrow type.
                dtype = torch.get_autocast_dtype("cuda")
                weights = [{name: w.to(dtype) for name, w in each.items()} for each in weights]
            # Else as the weights are, whatever a layer before this one made narrow.
            input = input.to(dtype)
            state = None if state is None else tuple(each.to(dtype) for each in state)
        if input.dtype != dtype:
            raise ValueError(
                f"input must have the dtype of the weights, {dtype}, got: {input.dtype}"
            )
        if batch_sizes is None:
            batch = input.shape[0 if self.batch_first else 1]
        else:
            batch = int(batch_sizes[0])
            if batch > input.shape[0]:  # or the state would be as large as it likes
                raise RuntimeError(
                    f"batch_sizes must add up to {input.shape[0]}, got: {batch} in the first"
                )
        directions = 2 if self.bidirectional else 1
        if state is None:
            places = self.num_layers * directions
            state = (input.new_zeros(places, batch, self.proj_size or self.hidden_size),)
            if self.mode == "LSTM":
                state = (*state, input.new_zeros(places, batch, self.hidden_size))
        hx: Any = state if self.mode == "LSTM" else state[0]
        self.check_forward_args(input, hx, batch_sizes)

        last = []
        for index in range(self.num_layers):
            if index > 0 and self.dropout > 0:
                input = nn.functional.dropout(input, self.dropout, self.training)
            outputs = []
            for direction in range(directions):
                place = index * directions + direction
                output, *final = ops.layer(
                    self.mode.lower(),
                    input,
                    state[0][place],
                    **weights[place],
                    c0=state[1][place] if self.mode == "LSTM" else None,
                    lengths=lengths,
                    batch_sizes=batch_sizes,
                    batch_first=self.batch_first,
                    reverse=direction == 1,
                    recompute=self.recompute,
                )
                outputs.append(output)
                last.append(final)
            input = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
        return input, tuple(torch.stack(each) for each in zip(*last, strict=True))

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Part of torch's ``check_forward_args``."""
        rank = 3 if batch_sizes is None else 2
        if input.dim() != rank:
            raise RuntimeError(f"input must have {rank} dimensions, got: {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input must have {self.input_size} features, got: {input.shape[-1]}"
            )

    def _weights(self) -> list[dict[str, Any]]:
        """Of every layer and direction, by attribute.

        torch.func.functional_call and parametrizations leave torch's own list of them behind.
        """
        names = ["w_ih", "w_hh"]
        names += ["b_ih", "b_hh"] if self.bias else []
        names += ["w_hr"] if self.proj_size else []
        return [
            dict(zip(names, [getattr(self, name) for name in attributes], strict=True))
            for attributes in self._all_weights
        ]


class RNN(_Recurrent):
    """A stack of Elman layers, ``h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)``: a drop-in for :class:`torch.nn.RNN`.

    Same arguments, same parameters under the same names, same results; see there. Beside that, ``forward`` takes
    ``lengths``, which makes padding free without packing. float16 and bfloat16 are computed in float32 on the CPU; a
    GPU multiplies them as they are, with sums in float32.

    Args:
        input_size: features of a time step, I.
        hidden_size: features of the hidden state, H.
        num_layers: how many layers stand on one another.
        nonlinearity: f, "tanh" or "relu".
        bias: whether there are b_ih and b_hh.
        batch_first: input and output are (N, T, features) instead of (T, N, features).
        dropout: probability of zeroing an output between layers, in training.
        bidirectional: a second set of layers runs from the last step to the first.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got: {nonlinearity!r}")
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Runs the stack.

        Args:
            input: (T, N, I), (N, T, I) with ``batch_first``, (T, I) for one row, or a ``PackedSequence``.
            hx: (layers * directions, N, H), or (layers * directions, H) for one row; zeros if None.
            lengths: (N,) int64 on the CPU, each in 1..T, in any order: true lengths of padded rows. The output past a
                row's length is 0, the hidden state is that of its last true step, and padding costs nothing.

        Returns:
            The hidden states of the last layer, shaped like the input with directions * H features, and the last hidden
            state of every layer and direction, shaped like ``hx``.
        """
        output, (h_n,) = self._forward(input, None if hx is None else (hx,), lengths)
        return output, h_n


class GRU(_Recurrent):
    """A stack of gated recurrent units: a drop-in for :class:`torch.nn.GRU`, as :class:`RNN` is for its model.

    Args:
        input_size: features of a time step, I.
        hidden_size: features of the hidden state, H.
        num_layers: how many layers stand on one another.
        bias: whether there are b_ih and b_hh.
        batch_first: input and output are (N, T, features) instead of (T, N, features).
        dropout: probability of zeroing an output between layers, in training.
        bidirectional: a second set of layers runs from the last step to the first.
        recompute: keep no gates for the backward pass, which makes them again: less memory for a training step that
            takes up to a third longer (on the CPU), with the same result, on the CPU to the last bit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )
        self.recompute = recompute

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Runs the stack; arguments and results are those of :meth:`RNN.forward`."""
        output, (h_n,) = self._forward(input, None if hx is None else (hx,), lengths)
        return output, h_n


class LSTM(_Recurrent):
    """A stack of long short-term memories: a drop-in for :class:`torch.nn.LSTM`, as :class:`RNN` is for its model.

    Args:
        input_size: features of a time step, I.
        hidden_size: features of the cell state, H, and of the hidden state without a projection.
        num_layers: how many layers stand on one another.
        bias: whether there are b_ih and b_hh.
        batch_first: input and output are (N, T, features) instead of (T, N, features).
        dropout: probability of zeroing an output between layers, in training.
        bidirectional: a second set of layers runs from the last step to the first.
        proj_size: features of the hidden state behind a projection of its own, below H; 0: there is none.
        recompute: keep no gates for the backward pass, which makes them again: less memory for a training step that
            takes up to a third longer (on the CPU), with the same result, on the CPU to the last bit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            device=device,
            dtype=dtype,
        )
        self.recompute = recompute

    # As in torch.nn.LSTM, whose state is a pair.
    check_forward_args = nn.LSTM.check_forward_args  # type: ignore[assignment]
    get_expected_cell_size = nn.LSTM.get_expected_cell_size

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Runs the stack; as :meth:`RNN.forward`, but that ``hx`` and the last state are pairs.

        Their first is the hidden state (layers * directions, N, P), P being ``proj_size`` or else H, and their second
        the cell state (layers * directions, N, H).
        """
        output, (h_n, c_n) = self._forward(input, hx, lengths)
        return output, (h_n, c_n)


REPLACEMENTS: dict[type[nn.Module], type[nn.Module]] = {nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM}
"""What :func:`accelerate` puts in the place of what."""


@dataclass(frozen=True)
class Acceleration:
    """What :func:`accelerate` did: names of modules, "" being the model itself."""

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
    made before goes on working, and so does every other reference to the module.

    Returns:
        The names of the modules that were swapped, and of those that were left, with the reason.
    """
    swapped, left = [], {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.RNNBase) or type(module) in REPLACEMENTS.values():
            continue
        reason = _why_left(module)
        if reason is None:
            module.__class__ = REPLACEMENTS[type(module)]  # type: ignore[assignment]
            swapped.append(name)
        else:
            left[name] = reason
    return Acceleration(tuple(swapped), left)


def _why_left(module: nn.RNNBase) -> str | None:
    if type(module) not in REPLACEMENTS:
        names = ", ".join(f"torch.nn.{layer.__name__}" for layer in REPLACEMENTS)
        return f"its type must be one of {names}, got: {type(module).__module__}.{type(module).__qualname__}"
    weight = next(module.parameters())
    return ops.why_not(weight.device, weight.dtype)
