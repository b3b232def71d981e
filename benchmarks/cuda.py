"""rnnfast beside torch.nn, which is cuDNN there, on a GPU: `make bench-cuda`.

Both run in turn in one process, in bursts between two CUDA events, of which the medians are compared: the time of the
GPU, or of the host where launching takes longer. What fits into a cache stays there from call to call, for both.
Nothing is written unless both give the same results.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

import torch
from torch import nn

import rnnfast
from benchmarks import parity, tables
from benchmarks.bars import Verdict, times
from benchmarks.cases import GATES, GRID, MODES, Case, Data, Shape, draw, operations, shape_of
from benchmarks.peers import in_torch
from benchmarks.tables import Table
from benchmarks.timing import Call, interleaved
from rnnfast.nn import ops

RESULTS = Path(__file__).parent / "results" / "cuda.md"
MEASURED = "## Measured"
"""The heading in that file under which the tables go, in the place of those before."""


class Precision(NamedTuple):
    """What the tensors are of, and how far two right results may be apart, as a share of the largest number."""

    dtype: torch.dtype
    tf32: bool
    bound: float


PRECISIONS = {
    "fp32": Precision(torch.float32, False, 1e-3),
    "tf32": Precision(torch.float32, True, 3e-2),
    "bf16": Precision(torch.bfloat16, False, 1e-1),
    "fp16": Precision(torch.float16, False, 3e-2),
}
COMPARED = ("fp32", "bf16")
LONG = Shape(1024, 16, 768, 768)
SHAPES = (*GRID, LONG, Shape(1024, 16, 256, 256), Shape(512, 128, 512, 512))

AGAINST_TORCH = {"forward": 2.0, "training": 2.0, "packed": 4.0, "packed-training": 4.0}
"""Times as fast as torch.nn, on the geometric mean over the shapes; no single one may be slower than it."""
STEP, STEP_HIDDEN, STEP_BATCH = 1e-6, 256, 64
"""Seconds of a time step of the sweep in bf16, for at most so many hidden units and batch rows."""
CUDNN_PUBLISHED = {"forward": 1.9e-3, "training": 4.9e-3}
"""Seconds to stay under with the LSTM of shape LONG in fp16; cuDNN's published figures are 2.01 and 5.19 ms."""


class Ceilings(NamedTuple):
    """What the GPU reached in this run: operations a second of a large product, bytes a second of a large copy."""

    operations: dict[str, float]
    bytes: float


def main(arguments: Sequence[str]) -> int:
    """Measures, prints and writes.

    Returns:
        The exit code: 0; 1 where torch's result is not ours, and then nothing is written; 2 where there is no GPU.
    """
    options = _options(arguments)
    if not (torch.cuda.is_available() and ops.why_not(torch.device("cuda"), torch.float32) is None):
        has = "torch sees none" if not torch.cuda.is_available() else "rnnfast was built without it"
        print(f"bench-cuda needs an NVIDIA GPU, and rnnfast built for it: {has}", file=sys.stderr)
        return 2
    try:
        report = measure(options)
    except parity.MismatchError as mismatch:
        print(f"Refused, nothing is written: {mismatch}")
        return 1
    text = markdown(report)
    print(text)
    if options.output:
        write(text, options.output)
        options.output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole report.

    Raises:
        MismatchError: torch's result is not ours.
    """
    ceilings = measure_ceilings(options.precisions)
    wanted = [
        (precision, Case(cell, mode, shape))
        for precision in options.precisions
        for cell in options.cells
        for mode in options.modes
        for shape in options.shapes
    ]
    if options.published:
        wanted += [("fp16", Case("LSTM", mode, LONG)) for mode in CUDNN_PUBLISHED]
    rows = []
    for number, (precision, case) in enumerate(wanted, 1):
        print(f"\r\033[K{number}/{len(wanted)} {case} {precision}", end="", file=sys.stderr)
        rows.append(row(case, precision, torch.device("cuda"), options.seconds, gpu_seconds))
    print("\r\033[K", end="", file=sys.stderr)
    return {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "rnnfast": rnnfast.__version__,
        "ceilings": ceilings._asdict(),
        "rows": rows,
    }


def gpu_seconds(call: Call, repeats: int) -> float:
    """Between two events on the current stream."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / repeats


def measure_ceilings(precisions: Sequence[str]) -> Ceilings:
    """Medians over random numbers; of zeros a product is faster."""
    size, rates = 8192, {}
    for name in {*precisions, "fp16"}:
        dtype, tf32, _ = PRECISIONS[name]
        set_up(dtype, tf32)
        a, b = (torch.randn(size, size, device="cuda").to(dtype) for _ in range(2))
        (found,) = _warm([partial(torch.mm, a, b)], 1.0, gpu_seconds)
        rates[name] = 2 * size**3 / found
    source = torch.randn(2**30, device="cuda")
    target = torch.empty_like(source)
    (found,) = _warm([lambda: target.copy_(source)], 1.0, gpu_seconds)
    return Ceilings(rates, 2 * source.nbytes / found)


def set_up(dtype: torch.dtype, tf32: bool) -> None:
    """Has products and cuDNN compute alike, and cuDNN as fast as it can, which torch does not everywhere.

    Without TF32 torch's RNNs take cuDNN's tensor cores away in bfloat16 too, and only for the types that it lists does
    it lay the weights out once instead of at every call.
    """
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32 or dtype != torch.float32
    torch.backends.cudnn.CUDNN_TENSOR_DTYPES.add(dtype)


def row(
    case: Case, precision: str, device: torch.device, seconds: float, clock: Any
) -> dict[str, Any]:
    """One case: the medians of both, and of the input's product, which rnnfast makes for all time steps at once.

    Raises:
        MismatchError: torch's result is not ours.
    """
    dtype, tf32, bound = PRECISIONS[precision]
    set_up(dtype, tf32)
    drawn = draw(case)
    data = Data(
        drawn.input.to(device, dtype),
        drawn.lengths,
        {name: weight.to(device, dtype) for name, weight in drawn.weights.items()},
    )
    ours, theirs = (
        in_torch.layer_contender(module, case, data, device=device, dtype=dtype)
        for module in (rnnfast, nn)
    )
    right, beside = (
        {name: tensor.float() for name, tensor in each.results(each.call()).items()}
        for each in (ours, theirs)
    )
    difference = parity.check(case, f"torch.nn in {precision}", right, beside, bound)
    del right, beside
    factors = (data.input.flatten(0, 1), data.weights["w_ih"].T)
    wide = {} if dtype == torch.float32 else {"out_dtype": torch.float32}
    calls: list[Call] = [ours.call, theirs.call, partial(torch.mm, *factors, **wide)]
    mine, other, product = _warm(calls, seconds, clock)
    return {
        "cell": case.cell,
        "mode": case.mode,
        "shape": list(case.shape),
        "precision": precision,
        "operations": operations(case, drawn),
        "bytes": traffic(case, drawn, dtype.itemsize),
        "seconds": {"rnnfast": mine, "torch.nn": other, "product": product},
        "largest_difference": difference,
    }


def _warm(calls: list[Call], seconds: float, clock: Any) -> list[float]:
    """Medians, after some calls that set up what is set up once."""
    for call in calls:
        for _ in range(3):
            call()
    return [timing.median for timing in interleaved(calls, seconds=seconds, clock=clock)]


def traffic(case: Case, data: Data, size: int) -> int:
    """Bytes that must pass: each input read once, each output written once, of numbers of so many bytes.

    Forward: input, output and weights. A training step does that, and then reads input, output and the gradient of the
    output, writes that of the input, and reads the weights and writes their gradients.
    """
    _, _, inputs, hidden = case.shape
    weights = sum(weight.numel() for weight in data.weights.values())
    forward = data.tokens * (inputs + hidden) + weights
    backward = 2 * data.tokens * (inputs + hidden) + 2 * weights
    return (forward + backward * case.training) * size


def floor(found: dict[str, Any], ceilings: dict[str, Any]) -> float:
    """Seconds that a row takes at least, by operations or by bytes; what a step waits for is not in it."""
    rate = ceilings["operations"][found["precision"]]
    return float(max(found["operations"] / rate, found["bytes"] / ceilings["bytes"]))


def step(found: dict[str, Any]) -> float:
    """Seconds of a time step of the sweep: what is left of the forward pass without the input's product."""
    return float((found["seconds"]["rnnfast"] - found["seconds"]["product"]) / found["shape"][0])


def ratio(found: dict[str, Any]) -> float:
    return float(found["seconds"]["torch.nn"] / found["seconds"]["rnnfast"])


def verdicts(report: dict[str, Any]) -> list[Verdict]:
    """All bars that the report has figures for."""
    rows, made = report["rows"], []
    for precision in COMPARED:
        for mode, bar in AGAINST_TORCH.items():
            ratios = [
                ratio(each)
                for each in rows
                if (each["precision"], each["mode"]) == (precision, mode)
            ]
            if ratios:
                mean, what = geometric_mean(ratios), f"{precision} {mode}: times torch.nn"
                made.append(Verdict(what, times(bar), times(mean), mean >= bar))
                made.append(
                    Verdict(f"{what}, worst row", times(1), times(min(ratios)), min(ratios) >= 1)
                )
    steps = [
        step(each)
        for each in rows
        if (each["precision"], each["mode"]) == ("bf16", "forward")
        and each["shape"][1] <= STEP_BATCH
        and each["shape"][3] <= STEP_HIDDEN
    ]
    if steps:
        what = f"bf16, H <= {STEP_HIDDEN}, N <= {STEP_BATCH}: a step of the sweep, the longest"
        made.append(Verdict(what, microseconds(STEP), microseconds(max(steps)), max(steps) <= STEP))
    for each in rows:
        if (each["precision"], each["shape"], each["cell"]) == ("fp16", list(LONG), "LSTM"):
            most, reached = CUDNN_PUBLISHED.get(each["mode"]), each["seconds"]["rnnfast"]
            if most is not None:
                what = f"LSTM fp16 ({LONG}) {each['mode']}"
                made.append(
                    Verdict(
                        what,
                        tables.milliseconds(most),
                        tables.milliseconds(reached),
                        reached < most,
                    )
                )
    return made


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} us"


def of_rows(report: dict[str, Any], precision: str, cell: str) -> Table | None:
    """A section for each mode, with its mean at the end."""
    columns = ("T, N, I, H", "time", "torch.nn", "x torch.nn", "of the floor", "a step")
    sections = []
    for mode in MODES:
        rows = [
            each
            for each in report["rows"]
            if (each["precision"], each["cell"], each["mode"]) == (precision, cell, mode)
        ]
        if not rows:
            continue
        lines = [(mode, *[""] * (len(columns) - 1))]
        for each in rows:
            seconds = each["seconds"]
            lines.append(
                (
                    ", ".join(map(str, each["shape"])),
                    tables.milliseconds(seconds["rnnfast"]),
                    tables.milliseconds(seconds["torch.nn"]),
                    times(ratio(each)),
                    f"{floor(each, report['ceilings']) / seconds['rnnfast']:.0%}",
                    microseconds(step(each)) if mode == "forward" else "",
                )
            )
        mean = times(geometric_mean(map(ratio, rows)))
        sections.append([*lines, ("geometric mean", "", "", mean, "", "")])
    return Table(f"{cell}, {precision}", columns, sections) if sections else None


def markdown(report: dict[str, Any]) -> str:
    """What goes under the heading."""
    rates = report["ceilings"]["operations"].items()
    products = ", ".join(f"{rate / 1e12:.0f} TFLOP/s in {name}" for name, rate in rates)
    made = [
        f"{report['gpu']}; torch {report['torch']}, CUDA {report['cuda']}, cuDNN {report['cudnn']}, rnnfast "
        f"{report['rnnfast']}. In this run a large product reached {products}, and a large copy "
        f"{report['ceilings']['bytes'] / 1e12:.2f} TB/s, read and written.",
        "Medians of interleaved runs between CUDA events. Packed: lengths uniform in 1..T. The floor is the larger of "
        "operations and bytes over those two rates; of a step, what remains of the forward pass without the input's "
        "product, by T.",
        tables.as_markdown(tables.of_bars(verdicts(report))),
    ]
    for precision in PRECISIONS:
        found = (of_rows(report, precision, cell) for cell in GATES)
        made += [tables.as_markdown(each) for each in found if each]
    return "\n\n".join(made) + "\n"


def write(text: str, path: Path) -> None:
    """Under the heading of the file, in the place of what was there; what stands before it stays."""
    before = path.read_text().split(MEASURED)[0] if path.exists() else "# On a GPU\n\n"
    path.write_text(f"{before}{MEASURED}\n\n{text}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda",
        description=__doc__,
        epilog="Without any option the tables go to benchmarks/results/cuda.md; with one, only where --output says.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cells", nargs="+", choices=GATES, default=list(GATES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(COMPARED))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--shapes", nargs="+", type=shape_of, metavar="T,N,I,H", default=SHAPES)
    parser.add_argument("--seconds", type=float, default=0.5, help="that a row should take")
    parser.add_argument("--output", type=Path, help="the Markdown file; JSON goes beside it")
    options = parser.parse_args(arguments)
    options.published = not arguments
    if not arguments:
        options.output = RESULTS
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
