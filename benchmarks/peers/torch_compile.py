"""A plain loop over time in torch's operations, under torch.compile; the projection of the input stands before it.

The forward pass is one compiled graph around `scan`, torch's own loop operator, which measured faster than a loop in
Python over a compiled step; unrolled by the compiler, a thousand steps would compile for hours. A training step is that
loop in Python, since inductor refuses to differentiate a scan whose carry comes out of a tanh
(https://github.com/pytorch/pytorch/issues/195977). Both are compiled for sizes that change (`dynamic`), which measured
as fast as for fixed ones and saves a compilation for each shape. Packed input is left out.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch._higher_order_ops import scan

from benchmarks.cases import Case, Data
from benchmarks.peers import Contender, in_torch

torch._dynamo.config.recompile_limit = (
    64  # there are more shapes than the 8 that one process may compile for
)

State = tuple[Tensor, ...]
"""h and, for an LSTM, c, (N, H) each."""
Step = Callable[[State, Tensor, Tensor, Tensor], State]
"""From the state, the projected input of a step (N, G*H), w_hh and b_hh to the next state."""


def version() -> str:
    return torch.__version__


def takes(case: Case) -> bool:
    return not case.packed


def prepare(case: Case, data: Data) -> Contender:
    input = data.input.clone()
    weights = {name: weight.clone() for name, weight in data.weights.items()}
    run = TRAINING[case.cell] if case.training else FORWARD[case.cell]
    return in_torch.contender(
        case, lambda: run(input, *weights.values()), {"input": input, **weights}
    )


def _rnn(state: State, projected: Tensor, w_hh: Tensor, b_hh: Tensor) -> State:
    return (torch.tanh(projected + torch.nn.functional.linear(state[0], w_hh, b_hh)),)


def _gru(state: State, projected: Tensor, w_hh: Tensor, b_hh: Tensor) -> State:
    (h,) = state
    recurrent = torch.nn.functional.linear(h, w_hh, b_hh)
    (x_r, x_z, x_n), (h_r, h_z, h_n) = projected.chunk(3, 1), recurrent.chunk(3, 1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (n + z * (h - n),)


def _lstm(state: State, projected: Tensor, w_hh: Tensor, b_hh: Tensor) -> State:
    h, c = state
    i, f, g, o = (projected + torch.nn.functional.linear(h, w_hh, b_hh)).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


STEPS: dict[str, tuple[Step, int]] = {"RNN": (_rnn, 1), "GRU": (_gru, 1), "LSTM": (_lstm, 2)}
"""For each cell its step and the number of its states."""

Run = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], State]
"""From input and weights to output and last state."""


def _start(input: Tensor, hidden: int, states: int) -> State:
    return tuple(input.new_zeros(input.shape[1], hidden) for _ in range(states))


Scanned = tuple[State, Tensor]
"""Carry and output of one step of a scan. (Dynamo cannot evaluate this subscript inside what it compiles.)"""


def _scanned(step: Step, states: int) -> Run:
    def run(input: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> State:
        def combine(state: State, projected: Tensor) -> Scanned:
            state = step(state, projected, w_hh, b_hh)
            return state, state[0].clone()  # a scan's output must not be its carry

        projected = torch.nn.functional.linear(input, w_ih, b_ih)
        last, output = scan(combine, _start(input, w_hh.shape[1], states), projected)
        return output, *last

    return torch.compile(run, fullgraph=True, dynamic=True)


def _looped(step: Step, states: int) -> Run:
    compiled = torch.compile(step, fullgraph=True, dynamic=True)

    def run(input: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> State:
        state, outputs = _start(input, w_hh.shape[1], states), []
        for projected in torch.nn.functional.linear(input, w_ih, b_ih).unbind(0):
            state = compiled(state, projected, w_hh, b_hh)
            outputs.append(state[0])
        return torch.stack(outputs), *state

    return run


FORWARD = {cell: _scanned(*step) for cell, step in STEPS.items()}
TRAINING = {cell: _looped(*step) for cell, step in STEPS.items()}
