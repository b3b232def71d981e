"""Drop-in replacements for the recurrent layers of ``torch.nn``."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from rnnfast.nn import ops
from rnnfast.nn.stand_in import StandIn

State = tuple[Tensor, ...]
"""Hidden state, and for an LSTM cell state: (layers * directions, N, width) each."""


class Recurrent(StandIn, nn.RNNBase):
    """What the layers share: the stack, both directions, and torch's shapes of input and state.

    Each layer is a subclass of torch's as well, so that ``isinstance(layer, torch.nn.LSTM)`` is true.
    """

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
            if torch.compiler.is_exporting():
                raise NotImplementedError(
                    "rnnfast: torch.export cannot take a PackedSequence, whose sizes are data: "
                    "give the layer padded rows and lengths="
                )
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
        self._check_options(state)
        weights = self._weights()
        result_dtype = weights[0][0].dtype
        if input.device.type != "meta" and torch.is_autocast_enabled(input.device.type):
            input, state, weights, result_dtype = self._under_autocast(input, state, weights)
        self._check_sizes(input, state, batch_sizes, weights[0][0].dtype)
        h0, c0 = (*(state or ()), None, None)[:2]
        stack = ops.stack if self._frozen is None else self._frozen.stack_of(self)
        output, *last = stack(
            self.mode.lower(),
            input,
            h0,
            c0,
            weights,
            directions=2 if self.bidirectional else 1,
            dropout=self.dropout if self.training else 0.0,
            lengths=lengths,
            batch_sizes=batch_sizes,
            batch_first=self.batch_first,
            recompute=self.recompute,
        )
        if result_dtype != output.dtype:
            return output.to(result_dtype), tuple(each.to(result_dtype) for each in last)
        return output, tuple(last)

    def _under_autocast(
        self, input: Tensor, state: State | None, weights: list[list[Any]]
    ) -> tuple[Tensor, State | None, list[list[Any]], torch.dtype]:
        """Input, state and weights in the dtype to compute in, whatever was narrow; and the dtype of the results."""
        dtype = result_dtype = weights[0][0].dtype
        if dtype != torch.float64:
            dtype, result_dtype = self._autocast_dtypes(input, state)
            weights = [[None if w is None else w.to(dtype) for w in each] for each in weights]
        state = None if state is None else tuple(each.to(dtype) for each in state)
        return input.to(dtype), state, weights, result_dtype

    def _autocast_dtypes(
        self, input: Tensor, state: State | None
    ) -> tuple[torch.dtype, torch.dtype]:
        """In what to compute under autocast, and what the results are, as torch.nn has it there.

        The results are narrow, and so is all that leads to them but for float16 on the CPU. A GRU's h_t is a mean of
        h_(t-1) and what is narrow: the results are as wide as that, and where they are float32 its products are narrow.
        """
        narrow = torch.get_autocast_dtype(input.device.type)
        if input.is_cuda:
            return narrow, narrow
        result = narrow
        if self.mode == "GRU":
            before = input if state is None else state[0]
            result = torch.promote_types(narrow, before.dtype)
        return (narrow if result == torch.bfloat16 else torch.float32), result

    def _check_options(self, state: State | None) -> None:
        """What torch refuses not before the layer is called."""
        if isinstance(self.num_layers, bool):
            raise TypeError(f"num_layers must be an int, got: {self.num_layers}")
        if not isinstance(self.bidirectional, bool):
            raise TypeError(f"bidirectional must be a bool, got: {self.bidirectional!r}")
        if isinstance(state, Tensor):
            raise TypeError(
                f"hx must be a pair of tensors for an LSTM, got: a tensor of shape {tuple(state.shape)}"
            )

    def _check_sizes(
        self, input: Tensor, state: State | None, batch_sizes: Tensor | None, dtype: torch.dtype
    ) -> None:
        """What has to fit the weights, of this dtype."""
        if input.dtype != dtype:  # the words of torch
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        if batch_sizes is not None and int(batch_sizes[0]) > input.shape[0]:
            raise RuntimeError(  # or the state would be as large as it likes
                f"batch_sizes must add up to {input.shape[0]}, got: {int(batch_sizes[0])} in the first"
            )
        if state is None:
            self.check_input(input, batch_sizes)
        else:
            hx: Any = state[0] if len(state) == 1 else state
            self.check_forward_args(input, hx, batch_sizes)

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Part of torch's ``check_forward_args``."""
        rank = 3 if batch_sizes is None else 2
        if input.dim() != rank:
            raise RuntimeError(f"input must have {rank} dimensions, got: {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input must have {self.input_size} features, got: {input.shape[-1]}"
            )

    def _weights(self) -> list[list[Any]]:
        """Of every layer and direction w_ih, w_hh, b_ih, b_hh and w_hr, None for what it does not have.

        torch.func.functional_call and parametrizations leave torch's own list of them behind.
        """
        parameters, found = self._parameters, []
        for names in self._all_weights:
            # A module looks for an attribute in three places before it asks its parameters.
            each = [parameters[n] if n in parameters else getattr(self, n) for n in names]
            if not self.bias:
                each[2:2] = [None, None]
            if not self.proj_size:
                each.append(None)
            found.append(each)
        return found


class RNN(Recurrent, nn.RNN):
    """A stack of Elman layers, ``h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)``: a drop-in for :class:`torch.nn.RNN`.

    Same arguments, same parameters under the same names, same results; see there. Beside that, ``forward`` takes
    ``lengths``, which makes padding free without packing. float16 and bfloat16 are multiplied as they are, with sums in
    float32, but for float16 on the CPU, which is computed in float32.

    Args:
        input_size: features of a time step, I.
        hidden_size: features of the hidden state, H.
        num_layers: how many layers stand on one another.
        nonlinearity: f, "tanh" or "relu".
        bias: whether there are b_ih and b_hh.
        batch_first: input and output are (N, T, features) instead of (T, N, features).
        dropout: probability of zeroing an output between layers, in training.
        bidirectional: a second set of layers runs from the last step to the first.

    Example:
        >>> layer = RNN(4, 3, batch_first=True)
        >>> output, h_n = layer(torch.zeros(2, 5, 4), lengths=torch.tensor([5, 2]))
        >>> output.shape, h_n.shape
        (torch.Size([2, 5, 3]), torch.Size([1, 2, 3]))
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
        **refused: Any,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got: {nonlinearity!r}")
        super().__init__(
            input_size,
            hidden_size,
            num_layers=num_layers,
            nonlinearity=nonlinearity,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            **refused,  # by torch, in its words
        )

    def forward(  # type: ignore[override]  # torch has an overload for each kind of input
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
        if isinstance(input, Proxy) or isinstance(hx, Proxy) or isinstance(lengths, Proxy):
            return self._as_leaf(input, hx, lengths)
        output, (h_n,) = self._forward(input, None if hx is None else (hx,), lengths)
        return output, h_n


class GRU(Recurrent, nn.GRU):
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

    Example:
        >>> output, h_n = GRU(4, 3, bidirectional=True)(torch.zeros(5, 2, 4))
        >>> output.shape, h_n.shape
        (torch.Size([5, 2, 6]), torch.Size([2, 2, 3]))
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
        **refused: Any,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            **refused,  # by torch, in its words
        )
        self.recompute = recompute

    def forward(  # type: ignore[override]  # torch has an overload for each kind of input
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Runs the stack; arguments and results are those of :meth:`RNN.forward`."""
        if isinstance(input, Proxy) or isinstance(hx, Proxy) or isinstance(lengths, Proxy):
            return self._as_leaf(input, hx, lengths)
        output, (h_n,) = self._forward(input, None if hx is None else (hx,), lengths)
        return output, h_n


class LSTM(Recurrent, nn.LSTM):
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

    Example:
        >>> output, (h_n, c_n) = LSTM(4, 3, num_layers=2)(torch.zeros(5, 2, 4))
        >>> output.shape, c_n.shape
        (torch.Size([5, 2, 3]), torch.Size([2, 2, 3]))
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

    def forward(  # type: ignore[override]  # torch has an overload for each kind of input
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """Runs the stack; as :meth:`RNN.forward`, but that ``hx`` and the last state are pairs.

        Their first is the hidden state (layers * directions, N, P), P being ``proj_size`` or else H, and their second
        the cell state (layers * directions, N, H).
        """
        first = hx[0] if isinstance(hx, tuple) and hx else hx
        if isinstance(input, Proxy) or isinstance(first, Proxy) or isinstance(lengths, Proxy):
            return self._as_leaf(input, hx, lengths)
        output, (h_n, c_n) = self._forward(input, hx, lengths)
        return output, (h_n, c_n)
