"""The layers of rnnfast beside those of torch.nn over a grid of shapes: `make bench`.

Both run in turn in one process, and their medians are compared, which holds on a machine whose speed drifts. The share
is that of the machine's FMA peak, measured in the same run. Nothing is reported unless both give the same result.
"""

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import rnnfast
from rnnfast import ops

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}

# T time steps, N batch rows, I input size, H hidden size
SHAPES = [
    (256, 32, 64, 64),
    (256, 64, 128, 128),
    (256, 64, 128, 256),
    (256, 256, 128, 256),
    (500, 32, 128, 512),
    (96, 512, 9, 64),
    (1000, 16, 32, 128),
    (100, 64, 512, 1024),
    (256, 1, 128, 256),
    (1000, 1, 64, 128),
]


def interleaved_medians(calls: list[Callable[[], object]], runs: int) -> list[float]:
    """Seconds of each call: the median over `runs` rounds in which each is called once, after one round unmeasured."""
    times: list[list[float]] = [[] for _ in calls]
    for round_ in range(runs + 1):
        for call, seconds in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if round_:
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def train_step(layer: nn.RNNBase, x: torch.Tensor) -> None:
    x.grad = None
    layer.zero_grad(set_to_none=True)
    output, _ = layer(x)
    output.backward(output.detach())


def infer(layer: nn.RNNBase, x: torch.Tensor) -> None:
    with torch.inference_mode():
        layer(x)


def measure(cell: str, shape: tuple[int, int, int, int], runs: int, peak: float) -> dict[str, Any]:
    steps, batch, inputs, hidden = shape
    theirs, ours = (getattr(package, cell)(inputs, hidden) for package in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    for layer in (ours, theirs):
        train_step(layer, x)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-5)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, theirs.get_parameter(name).grad, rtol=1e-3, atol=1e-2
        )

    forward = 2 * steps * batch * GATES[cell] * hidden * (inputs + hidden)
    result: dict[str, Any] = {"shape": shape}
    for mode, call, operations in (
        ("forward", infer, forward),
        ("training", train_step, 3 * forward),
    ):
        mine, other = interleaved_medians(
            [lambda c=call: c(ours, x), lambda c=call: c(theirs, x)], runs
        )
        result[mode] = {
            "rnnfast_seconds": mine,
            "torch_seconds": other,
            "ratio": other / mine,
            "share_of_peak": operations / mine / peak,
        }
    return result


def shown(results: list[dict[str, Any]]) -> Table:
    columns = ("T, N, I, H", "forward", "of peak", "x torch", "training", "of peak", "x torch")
    table = Table(*columns)
    for result in results:
        cells = [", ".join(map(str, result["shape"]))]
        for mode in ("forward", "training"):
            figures = result[mode]
            cells += [
                f"{figures['rnnfast_seconds'] * 1e3:.2f} ms",
                f"{figures['share_of_peak']:.0%}",
                f"{figures['ratio']:.2f}",
            ]
        table.add_row(*cells)
    means = ["geometric mean"]
    for mode in ("forward", "training"):
        share, ratio = (
            statistics.geometric_mean(result[mode][figure] for result in results)
            for figure in ("share_of_peak", "ratio")
        )
        means += ["", f"{share:.0%}", f"{ratio:.2f}"]
    table.add_section()
    table.add_row(*means)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", choices=GATES, default=list(GATES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    peak = ops.cpu_peak(1.0)
    console = Console()
    console.print(
        f"{platform.processor() or platform.machine()}, target {ops.cpu_target()}, "
        f"FMA peak of one thread {peak / 1e9:.0f} GFLOP/s, torch {torch.__version__}"
    )
    report: dict[str, Any] = {
        "target": ops.cpu_target(),
        "peak": peak,
        "torch": torch.__version__,
    }
    for cell, threads in itertools.product(options.cells, options.threads):
        torch.set_num_threads(threads)
        results = [measure(cell, shape, options.runs, peak * threads) for shape in SHAPES]
        console.print(
            f"\n{cell}, {threads} thread(s), float32, medians of {options.runs} interleaved runs"
        )
        console.print(shown(results))
        report[f"{cell}, {threads} thread(s)"] = results
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
