"""Drop-in replacements for the cells of ``torch.nn``: one time step of one layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from rnnfast.nn import ops, steps
from rnnfast.nn.stand_in import StandIn

_FUNCTIONS = {
    "rnn_tanh": torch.rnn_tanh_cell,
    "rnn_relu": torch.rnn_relu_cell,
    "gru": torch.gru_cell,
    "lstm": torch.lstm_cell,
}

State = tuple[Tensor, ...]
"""Hidden state, and for an LSTM cell state: (N, H) each."""


class Cell(StandIn, nn.RNNCellBase):
    """What the cells share. Each is a subclass of torch's as well, so that ``isinstance(cell, torch.nn.GRUCell)``."""

    _cell: str
    """Its name among the kernels."""

    def _step(self, input: Tensor, state: State | None) -> State:
        cell = self._cell
        plain = self._plain_step(cell, input, state)
        if plain is not None:
            return plain
        is_batched = input.dim() == 2
        if not is_batched:
            input = input.unsqueeze(0)
            state = None if state is None else tuple(each.unsqueeze(0) for each in state)
        if state is None:
            zeros = input.new_zeros(input.shape[0], self.hidden_size)
            state = (zeros, zeros) if cell == "lstm" else (zeros,)
        self._check(input, state)
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        dtype = result_dtype = weights[0].dtype
        if input.device.type != "meta" and torch.is_autocast_enabled(input.device.type):
            if dtype != torch.float64:
                dtype, result_dtype = self._autocast_dtypes(cell, input, state)
                weights = tuple(None if w is None else w.to(dtype) for w in weights)  # type: ignore[assignment]
            input, state = input.to(dtype), tuple(each.to(dtype) for each in state)
        for name, each in (("input", input), *zip(("hx", "cx"), state, strict=False)):
            if each.dtype != dtype:
                raise RuntimeError(
                    f"rnnfast: {name} must have the dtype of the weights, {dtype}, got: {each.dtype}"
                )
        h0, c0 = state[0], state[1] if cell == "lstm" else None
        if torch.is_grad_enabled() and input.is_cpu and steps.is_plain():
            # A step to learn from keeps all that torch keeps, so there is nothing to gain over torch's.
            after = self._theirs(input, state, weights)
        else:
            _, *after = ops.layer(cell, input.unsqueeze(0), h0, *weights, c0=c0)
        if result_dtype != dtype:
            after = [each.to(result_dtype) for each in after]
        return tuple(after if is_batched else [each.squeeze(0) for each in after])

    def _plain_step(self, cell: str, input: Tensor, state: State | None) -> State | None:
        """The same where nothing but numbers is asked for, in a fraction of the time; None where more is."""
        if state is None or self._frozen is not None or not steps.is_plain():
            return None
        parameters = self._parameters
        try:
            w_ih, w_hh = parameters["weight_ih"], parameters["weight_hh"]
            b_ih, b_hh = parameters["bias_ih"], parameters["bias_hh"]
        except KeyError:  # parametrized, or set by a wrapper at every call
            return None
        if w_ih is None or w_hh is None:
            return None
        h0, c0 = state[0], state[1] if cell == "lstm" else None
        tensors = (input, h0, c0, w_ih, w_hh, b_ih, b_hh)
        if torch.is_grad_enabled() and steps.any_learns(tensors):
            return None
        dtype, rows = w_ih.dtype, input.shape[:-1]
        if (
            dtype not in ops.COMPUTED_DTYPES
            or input.shape[-1] != w_ih.shape[1]
            or h0.shape != (*rows, self.hidden_size)
            or (c0 is not None and c0.shape != h0.shape)
            or not steps.all_in_memory(tensors, dtype)
        ):
            return None
        if not rows:
            input = input.unsqueeze(0)
        weights = steps.arguments(ops.NUMBERS[cell], w_ih, w_hh, b_ih, b_hh)
        return steps.step(weights, input, h0, c0)

    def _theirs(
        self, input: Tensor, state: State, weights: tuple[Tensor | None, ...]
    ) -> list[Tensor]:
        """A step by torch's own function."""
        function: Any = _FUNCTIONS[self._cell]
        if self._cell == "lstm":
            return list(function(input, state, *weights))
        return [function(input, *state, *weights)]

    def _check(self, input: Tensor, state: State) -> None:
        """In the words of torch."""
        if input.shape[1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.shape[1]} expected {self.input_size}"
            )
        for place, each in enumerate(state):
            if input.shape[0] != each.shape[0]:
                raise RuntimeError(
                    f"Input batch size {input.shape[0]} doesn't match hidden{place} batch size {each.shape[0]}"
                )
            if each.dim() != 2 or each.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{place} has inconsistent hidden_size: got {each.shape[-1]}, expected {self.hidden_size}"
                )

    def _autocast_dtypes(
        self, cell: str, input: Tensor, state: State
    ) -> tuple[torch.dtype, torch.dtype]:
        """In what to compute under autocast, and what the results are, as torch.nn has it there."""
        narrow = torch.get_autocast_dtype(input.device.type)
        if input.is_cuda:
            return narrow, narrow
        # What comes straight from the state before is as wide as that.
        wide = {"gru": state[0], "lstm": state[-1]}.get(cell)
        result = narrow if wide is None else torch.promote_types(narrow, wide.dtype)
        return torch.float32, result

    def _expect_vectors(self, what: str, tensor: Tensor) -> None:
        if tensor.dim() not in (1, 2):
            raise ValueError(
                f"{type(self).__name__}: Expected {what} to be 1D or 2D, got {tensor.dim()}D instead"
            )


class RNNCell(Cell, nn.RNNCell):
    """One step of an Elman layer, ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``: a drop-in for :class:`torch.nn.RNNCell`.

    Same arguments, same parameters under the same names, same results, same exceptions; see there.

    Args:
        input_size: features of the input, I.
        hidden_size: features of the hidden state, H.
        bias: whether there are b_ih and b_hh.
        nonlinearity: f, "tanh" or "relu".

    Example:
        >>> cell, h = RNNCell(4, 3), torch.zeros(2, 3)
        >>> for x in torch.zeros(5, 2, 4):
        ...     h = cell(x, h)
        >>> h.shape
        torch.Size([2, 3])
    """

    @property
    def _cell(self) -> str:  # type: ignore[override]
        return f"rnn_{self.nonlinearity}"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Runs one step.

        Args:
            input: (N, I), or (I,) for one row.
            hx: (N, H), or (H,) for one row: the hidden state before the step; zeros if None.

        Returns:
            The hidden state behind it, shaped like ``hx``.

        Raises:
            ValueError: the input or the state has neither one nor two dimensions.
            RuntimeError: their sizes or dtypes do not fit, or ``nonlinearity`` is none of the two.
        """
        if self._frozen is not None:
            h = self._frozen.step(self, input, hx)
            if h is not None:
                return h[0]  # type: ignore[no-any-return]
        if isinstance(input, Proxy) or isinstance(hx, Proxy):
            return self._as_leaf(input, hx)
        self._expect_vectors("input", input)
        if hx is not None:
            self._expect_vectors("hidden", hx)
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(input, None if hx is None else (hx,))[0]


class GRUCell(Cell, nn.GRUCell):
    """One step of a gated recurrent unit: a drop-in for :class:`torch.nn.GRUCell`, as :class:`RNNCell` is for its.

    Args:
        input_size: features of the input, I.
        hidden_size: features of the hidden state, H.
        bias: whether there are b_ih and b_hh.

    Example:
        >>> GRUCell(4, 3)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    _cell = "gru"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Runs one step; arguments, result and exceptions are those of :meth:`RNNCell.forward`."""
        if self._frozen is not None:
            h = self._frozen.step(self, input, hx)
            if h is not None:
                return h[0]  # type: ignore[no-any-return]
        if isinstance(input, Proxy) or isinstance(hx, Proxy):
            return self._as_leaf(input, hx)
        self._expect_vectors("input", input)
        if hx is not None:
            self._expect_vectors("hidden", hx)
        return self._step(input, None if hx is None else (hx,))[0]


class LSTMCell(Cell, nn.LSTMCell):
    """One step of a long short-term memory: a drop-in for :class:`torch.nn.LSTMCell`, as :class:`RNNCell` is for its.

    Args:
        input_size: features of the input, I.
        hidden_size: features of the hidden state and of the cell state, H.
        bias: whether there are b_ih and b_hh.

    Example:
        >>> h, c = LSTMCell(4, 3)(torch.zeros(2, 4))
        >>> h.shape, c.shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """

    _cell = "lstm"

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Runs one step; as :meth:`RNNCell.forward`, but that ``hx`` and the result are pairs.

        Their first is the hidden state and their second the cell state, (N, H) each.
        """
        if self._frozen is not None and type(hx) is tuple and len(hx) == 2:
            states = self._frozen.step(self, input, *hx)
            if states is not None:
                return states  # type: ignore[no-any-return]
        first = hx[0] if isinstance(hx, tuple) and hx else hx
        if isinstance(input, Proxy) or isinstance(first, Proxy):
            return self._as_leaf(input, hx)
        self._expect_vectors("input", input)
        if hx is not None:
            for place, each in enumerate(hx):
                self._expect_vectors(f"hx[{place}]", each)
            if isinstance(hx, Tensor):
                raise TypeError(
                    f"hx must be a pair of tensors, got: a tensor of shape {tuple(hx.shape)}"
                )
            if len(hx) != 2:
                raise RuntimeError(f"hx must be a pair of tensors, got: {len(hx)}")
        h, c = self._step(input, None if hx is None else tuple(hx))
        return h, c
