"""rnnfast and its peers, a file each, and what such a file has."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

from torch import Tensor

from benchmarks.cases import Case, Data

OURS = "rnnfast"

MODULES = {
    OURS: ("ours", "rnnfast"),
    "torch.nn": ("torch_nn", "torch"),
    "torch.compile": ("torch_compile", "torch"),
    "ONNX Runtime": ("onnx_runtime", "onnxruntime"),
    "JAX": ("jax_scan", "jax"),
}
"""By name: the file here, and the package that has to be installed for it."""

PEERS = tuple(name for name in MODULES if name != OURS)


class Contender(NamedTuple):
    """One peer, ready for one case."""

    call: Callable[[], Any]
    """What is timed; it returns when everything is computed."""
    results: Callable[[Any], dict[str, Tensor]]
    """From what ``call`` returned: output (T, N, H), 0 past the end of a row; h_n and, for an LSTM, c_n (N, H); and in
    training the gradients, "d input" (T, N, I) and "d w_ih", "d w_hh", "d b_ih", "d b_hh", of half the sum of the
    squares of the output."""


class Peer(Protocol):
    """What a file has."""

    def version(self) -> str:
        """Of the package."""

    def takes(self, case: Case) -> bool:
        """Whether the peer can run the case at all."""

    def prepare(self, case: Case, data: Data) -> Contender:
        """Whatever need not be done again for each call. It runs on torch.get_num_threads() threads."""


def installed() -> list[str]:
    """Names of the peers whose packages are there."""
    return [name for name in PEERS if importlib.util.find_spec(MODULES[name][1])]


def load(name: str) -> Peer:
    return cast(Peer, importlib.import_module(f"benchmarks.peers.{MODULES[name][0]}"))
