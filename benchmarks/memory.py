"""Peak resident memory of one call, above the tensors that must exist, in a fresh process (Linux)."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Case, Shape, draw
from benchmarks.peers import Contender, ours, torch_nn

SHAPE = Shape(1000, 64, 128, 256)
QUICK = Shape(200, 64, 32, 64)
PACKAGES: dict[str, Callable[..., Contender]] = {
    "rnnfast": ours.prepare,
    "torch.nn": torch_nn.prepare,
}


def measure(
    package: str, cell: str, mode: str, shape: list[int], **arguments: Any
) -> dict[str, Any]:
    """Bytes of the peak of a call above what stands before it and what it returns.

    Args:
        package: of :data:`PACKAGES`.
        cell: RNN, GRU or LSTM.
        mode: forward or training.
        shape: T, N, I, H.
        arguments: more of the layer's own.

    Returns:
        "needed": bytes of input and weights, and of outputs and gradients, which the call returns;
        "above": those of the peak above them.
    """
    torch.set_num_threads(1)
    case = Case(cell, mode, Shape(*shape))
    # Libraries load and threads start here.
    small = Case(cell, mode, case.shape._replace(steps=2))
    PACKAGES[package](small, draw(small), **arguments).call()
    data = draw(case)
    call = PACKAGES[package](case, data, **arguments).call
    ctypes.CDLL(None).malloc_trim(0)  # gives back what was freed, or the call could reuse it unseen
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # has VmHWM, the peak, start anew
    returned: tuple[Tensor, ...] = call()
    peak = _resident("VmHWM")
    new = sum(tensor.nbytes for tensor in returned)
    return {
        "package": package,
        "cell": cell,
        "mode": mode,
        "shape": shape,
        "arguments": arguments,
        "needed": sum(tensor.nbytes for tensor in (data.input, *data.weights.values())) + new,
        "above": peak - before - new,
    }


def _resident(what: str) -> int:
    """Bytes: VmRSS, now, or VmHWM, the peak."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
