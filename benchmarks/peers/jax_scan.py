"""JAX: `jax.lax.scan` under `jit`, the projection of the input before it; rows of different length by a mask.

The gradients are those that `jax.value_and_grad` would take of half the sum of the squares, by `jax.vjp`, which spares
computing the sum, as for the peers in torch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from torch import Tensor

from benchmarks.cases import Case, Data
from benchmarks.peers import Contender

State = tuple[Array, ...]
"""h and, for an LSTM, c, (N, H) each."""


def version() -> str:
    return str(jax.__version__)


def takes(case: Case) -> bool:
    return True


def prepare(case: Case, data: Data) -> Contender:
    arguments = {
        name: jnp.asarray(tensor.numpy())
        for name, tensor in {"input": data.input, **data.weights}.items()
    }
    lengths = None if data.lengths is None else jnp.asarray(data.lengths.numpy())
    forward = partial(_forward, *CELLS[case.cell], lengths=lengths)

    @jax.jit
    def infer(arguments: dict[str, Array]) -> tuple[State, dict[str, Array]]:
        return forward(**arguments), {}

    @jax.jit
    def train(arguments: dict[str, Array]) -> tuple[State, dict[str, Array]]:
        def output_first(arguments: dict[str, Array]) -> tuple[Array, State]:
            output, *last = forward(**arguments)
            return output, tuple(last)

        output, pull_back, last = jax.vjp(output_first, arguments, has_aux=True)
        (grads,) = pull_back(output)
        return (output, *last), grads

    def results(returned: tuple[State, dict[str, Array]]) -> dict[str, Tensor]:
        outputs, grads = returned
        names = ("output", "h_n", "c_n")[: len(outputs)]
        arrays = dict(zip(names, outputs, strict=True))
        arrays |= {f"d {name}": grad for name, grad in grads.items()}
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    run = train if case.training else infer
    return Contender(lambda: jax.block_until_ready(run(arguments)), results)


def _forward(
    cell: Callable[..., State],
    states: int,
    input: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array,
    b_hh: Array,
    lengths: Array | None,
) -> State:
    """Output (T, N, H) and last state; `input` (T, N, I), `lengths` (N,)."""
    steps, batch, _ = input.shape
    projected = input @ w_ih.T + b_ih

    def step(state: State, now: tuple[Array, Array]) -> tuple[State, Array]:
        projected, time = now
        new = cell(state, projected, w_hh.T, b_hh)
        if lengths is None:
            return new, new[0]
        alive = (time < lengths)[:, None]
        kept = tuple(jnp.where(alive, *pair) for pair in zip(new, state, strict=True))
        return kept, jnp.where(alive, new[0], 0)

    start = tuple(jnp.zeros((batch, w_hh.shape[1])) for _ in range(states))
    last, output = jax.lax.scan(step, start, (projected, jnp.arange(steps)))
    return output, *last


def _rnn(state: State, projected: Array, w_hh: Array, b_hh: Array) -> State:
    return (jnp.tanh(projected + state[0] @ w_hh + b_hh),)


def _gru(state: State, projected: Array, w_hh: Array, b_hh: Array) -> State:
    (h,) = state
    x_r, x_z, x_n = jnp.split(projected, 3, axis=1)
    h_r, h_z, h_n = jnp.split(h @ w_hh + b_hh, 3, axis=1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    n = jnp.tanh(x_n + r * h_n)
    return (n + z * (h - n),)


def _lstm(state: State, projected: Array, w_hh: Array, b_hh: Array) -> State:
    h, c = state
    i, f, g, o = jnp.split(projected + h @ w_hh + b_hh, 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


CELLS: dict[str, tuple[Callable[..., Any], int]] = {
    "RNN": (_rnn, 1),
    "GRU": (_gru, 1),
    "LSTM": (_lstm, 2),
}
"""For each cell its step and the number of its states."""
