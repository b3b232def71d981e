"""A layer in bfloat16 and int8 beside itself in float32 and its peers in both: the grid, one thread.

In bfloat16 these are torch.nn and its autocast, forward and training; in int8, forward alone, ONNX Runtime.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

import rnnfast
from benchmarks import parity
from benchmarks.cases import Case, Data, Shape, draw
from benchmarks.isolation import say
from benchmarks.peers import Contender, in_torch, installed, load
from benchmarks.timing import interleaved
from rnnfast.nn import ops

OURS, OWN_FLOAT32, IN_BFLOAT16, AUTOCAST = (
    "rnnfast bfloat16",
    "rnnfast float32",
    "torch.nn bfloat16",
    "torch.nn autocast",
)
OWN_INT8, ONNX_INT8 = "rnnfast int8", "ONNX Runtime int8"
OTHERS = (OWN_FLOAT32, IN_BFLOAT16, AUTOCAST, OWN_INT8, ONNX_INT8)
BOUND = 0.1
"""Largest difference from float32, as a share of a result's largest magnitude: what 8 bits leave over 1000 steps."""

MODES = ("forward", "training")


def measure(
    cell: str, modes: list[str], shapes: list[list[int]], rounds: int | None
) -> dict[str, Any]:
    """One table: every mode and shape of a cell with one thread, all contenders in one process.

    Raises:
        MismatchError: a result in bfloat16 is not that of float32.
    """
    torch.set_num_threads(1)
    rows = []
    for mode in modes:
        for shape in (Shape(*sizes) for sizes in shapes):
            case = Case(cell, mode, shape)
            say(f"{case}, bfloat16")
            rows.append(_row(case, draw(case), rounds))
    return {"cell": cell, "target": ops.cpu_target(), "rows": rows}


def contenders(case: Case, data: Data) -> dict[str, Contender]:
    narrow = Data(data.input.bfloat16(), data.lengths, data.weights)

    def of(module: Any, given: Data, **options: Any) -> Contender:
        return in_torch.layer_contender(module, case, given, **options)

    return {
        OWN_FLOAT32: of(rnnfast, data),
        OURS: of(rnnfast, narrow, dtype=torch.bfloat16),
        IN_BFLOAT16: of(nn, narrow, dtype=torch.bfloat16),
        AUTOCAST: _under_autocast(of(nn, data)),
        **({} if case.training else _in_int8(case, data)),
    }


def _in_int8(case: Case, data: Data) -> dict[str, Contender]:
    """rnnfast, and ONNX Runtime where it is installed and has the operator."""
    built = in_torch.layer(rnnfast, case, data)
    rnnfast.quantize(built)

    def forward() -> tuple[Tensor, ...]:
        output, state = built(data.input)
        return output, *(last[0] for last in (state if case.cell == "LSTM" else (state,)))

    found = {OWN_INT8: in_torch.contender(case, forward, {})}
    if "ONNX Runtime" in installed():
        onnx_runtime: Any = load("ONNX Runtime")
        if case.cell in onnx_runtime.INT8_CELLS:
            found[ONNX_INT8] = onnx_runtime.prepare(case, data, int8=True)
    return found


def _under_autocast(contender: Contender) -> Contender:
    def call() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return contender.call()

    return contender._replace(call=call)


def _row(case: Case, data: Data, rounds: int | None) -> dict[str, Any]:
    found = contenders(case, data)
    right = found[OWN_FLOAT32].results(found[OWN_FLOAT32].call())
    errors = {}
    calls: dict[str, Callable[[], object]] = {}
    for name, contender in found.items():
        results = contender.results(contender.call())
        wide = {part: tensor.float() for part, tensor in results.items()}
        errors[name] = parity.check(case, name, wide, right, BOUND)
        calls[name] = contender.call
    timings = dict(zip(calls, interleaved(list(calls.values()), rounds), strict=True))
    return {
        "mode": case.mode,
        "shape": case.shape,
        "seconds": {name: asdict(timing) for name, timing in timings.items()},
        "largest_difference": errors,
    }
