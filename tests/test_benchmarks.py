"""The benchmarks' own logic: medians, means, bars, and that a wrong result is refused. Speed itself is not tested."""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import (
    bars,
    cuda,
    figures,
    isolation,
    memory,
    parity,
    peers,
    rows,
    scaling,
    timing,
)
from benchmarks.__main__ import main
from benchmarks.cases import BATCH_1, GRID, MODES, Case, Shape, draw, operations
from benchmarks.peers import torch_nn

TINY = Shape(7, 5, 3, 9)
ONE_ROW = Shape(7, 1, 3, 9)
TINY_RUN = ["--quick", "--cells", "RNN", "--threads", "1", "--modes", "forward"]
TINY_RUN += ["--peers", "torch.nn", "--rounds", "2", "--parts", "rows"]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The peak in no time, and torch's number of threads as it was."""
    monkeypatch.setattr(rows, "PEAK_SECONDS", 0.01)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def row(mode: str, shape: Shape, **seconds: float) -> dict[str, Any]:
    """A row with 1000 operations, where the peak is 1000 a second."""
    names = {"ours": "rnnfast", "torch": "torch.nn", "jax": "JAX"}
    return {
        "mode": mode,
        "shape": list(shape),
        "operations": 1000,
        "peak": 1000.0,
        "seconds": {
            names[name]: {"median": median, "rounds": 7} for name, median in seconds.items()
        },
    }


def table(*found: dict[str, Any], cell: str = "GRU", threads: int = 1) -> dict[str, Any]:
    return {"cell": cell, "threads": threads, "rows": list(found)}


class Clock:
    """Time that passes only in the calls that are timed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.called: list[str] = []
        monkeypatch.setattr(timing, "perf_counter", lambda: self.now)

    def call(self, name: str, *seconds: float) -> Callable[[], None]:
        """A call that takes so many seconds in turn, the last ones for ever."""
        rest = list(seconds)

        def pass_time() -> None:
            self.called.append(name)
            self.now += rest.pop(0) if len(rest) > 1 else rest[0]

        return pass_time


def test_calls_are_interleaved_and_their_medians_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    calls = [clock.call("a", 9, 1, 2, 9, 3, 4), clock.call("b", 2)]
    first, second = timing.interleaved(calls, rounds=5)
    assert clock.called == ["a", "b"] * 6  # the first tells how long it takes
    assert first == timing.Timing(median=3, lower_quartile=2, upper_quartile=4, rounds=5)
    assert second == timing.Timing(2, 2, 2, 5)


def test_short_calls_are_repeated_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    (found,) = timing.interleaved([clock.call("a", timing.BURST / 4)], rounds=3)
    assert len(clock.called) == 1 + 3 * (1 + 4)
    assert found.median == pytest.approx(timing.BURST / 4)


def test_rounds_follow_from_the_time_that_one_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for once, rounds in ((0.125, 16), (0.5, 7), (1.5, 5), (0.02, timing.MOST)):
        assert timing.interleaved([clock.call("a", once)], seconds=2.0)[0].rounds == rounds
    with pytest.raises(ValueError, match="rounds must be at least 2, got: 1"):
        timing.interleaved([clock.call("a", 1)], rounds=1)


def test_work_is_that_of_the_matrix_products_of_real_tokens() -> None:
    steps, batch, inputs, hidden = TINY
    forward, training, packed = (
        Case("LSTM", mode, TINY) for mode in ("forward", "training", "packed")
    )
    work = 2 * steps * batch * 4 * hidden * (inputs + hidden)
    assert operations(forward, draw(forward)) == work
    assert operations(training, draw(training)) == 3 * work
    data = draw(packed)
    assert data.lengths is not None
    assert data.lengths.min() >= 1
    assert data.lengths.max() <= steps
    assert operations(packed, data) * steps * batch == work * data.tokens
    assert all(not data.input[length:, index].any() for index, length in enumerate(data.lengths))


def test_means_are_geometric_and_leave_batch_1_apart() -> None:
    found = table(
        row("forward", GRID[0], ours=1.0, torch=2.0, jax=4.0),
        row("forward", GRID[1], ours=4.0, torch=32.0, jax=2.0),
        row("forward", BATCH_1[0], ours=2.0, torch=2.0, jax=1.0),
        row("training", GRID[0], ours=5.0, torch=5.0),
    )
    first, second = figures.group(found, "forward")
    assert (first.torch, first.best, first.best_peer) == (2.0, 2.0, "torch.nn")
    assert (second.torch, second.best, second.best_peer) == (8.0, 0.5, "JAX")
    assert first.share == {"rnnfast": 1.0, "torch.nn": 0.5, "JAX": 0.25}
    assert figures.mean_share([first, second]) == pytest.approx(0.5)
    assert figures.mean_against_torch([first, second]) == pytest.approx(4.0)
    assert figures.mean_against_best([first, second]) == pytest.approx(1.0)
    (alone,) = figures.group(found, "forward", one_row=True)
    assert alone.best_peer == "JAX"


def test_bars_say_whether_they_hold() -> None:
    reached = table(row("forward", GRID[0], ours=1 / 0.76, torch=3.1 / 0.76, jax=0.94 / 0.76))
    share, ratio = bars.of_mean(reached, "forward")
    assert share == bars.Verdict("GRU forward, 1 thread: of the FMA peak", "75%", "76.0%", True)
    assert ratio == bars.Verdict("GRU forward, 1 thread: times torch.nn", "3.20", "3.10", False)
    worst = bars.of_worst_row(reached)
    assert worst is not None
    assert (worst.reached, worst.holds) == ("0.94", False)
    assert bars.of_mean(reached, "training") == (None, None)
    two = table(*reached["rows"], threads=2)
    share, ratio = bars.of_mean(two, "forward")
    assert share is not None
    assert (share.bar, share.holds, ratio) == ("67%", True, None)
    for ratio_, holds in ((1.30, True), (1.34, False)):
        assert bars.of_recompute({"cell": "GRU", "ratio": ratio_}).holds == holds


def test_the_slope_is_the_power_of_the_size() -> None:
    sizes = [8, 16, 32, 64]
    assert scaling.slope(sizes, [3e-3 * n for n in sizes]) == pytest.approx(1)
    quadratic = scaling.slope(sizes, [3e-3 * n**2 for n in sizes])
    assert quadratic == pytest.approx(2)
    series = {"cell": "RNN", "mode": "forward", "dimension": "T", "slope": quadratic}
    verdict = bars.of_slope(series)
    assert verdict is not None
    assert not verdict.holds
    assert bars.of_slope(series | {"dimension": "H"}) is None


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_torch_computes_the_same_in_every_mode(cell: str) -> None:
    """The results that are compared, gradients among them, padded and packed."""
    found = rows.measure(cell, 1, list(MODES), [TINY, ONE_ROW], ["torch.nn"], rounds=2)
    assert [(each["mode"], each["shape"]) for each in found["rows"]] == [
        ("forward", TINY),
        ("forward", ONE_ROW),
        ("training", TINY),
        ("training", ONE_ROW),
        ("packed", TINY),
        ("packed-training", TINY),
    ]
    for each in found["rows"]:
        assert each["largest_difference"].keys() == {"torch.nn"}
        assert each["seconds"].keys() == {"rnnfast", "torch.nn"}


@pytest.mark.parametrize(
    ("result", "change", "message"),
    [
        ("output", lambda right: right * 1.001, "output of rnnfast and of torch.nn must differ"),
        ("h_n", lambda right: right * math.nan, "h_n of rnnfast .* got: nan"),
        ("d w_hh", lambda right: right.flip(0), "d w_hh of rnnfast"),
        ("d input", lambda right: right[1:], "d input of torch.nn must have the shape"),
    ],
)
def test_a_wrong_result_is_refused(result: str, change: Any, message: str) -> None:
    case = Case("GRU", "training", TINY)
    contender = torch_nn.prepare(case, draw(case))
    right = contender.results(contender.call())
    assert parity.check(case, "torch.nn", right, right) == 0
    with pytest.raises(parity.MismatchError, match=message):
        parity.check(case, "torch.nn", right, right | {result: change(right[result])})
    with pytest.raises(parity.MismatchError, match="must give output"):
        parity.check(case, "torch.nn", right, {"output": right["output"]})


def test_a_wrong_contender_makes_it_write_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(case: Case, data: Any) -> peers.Contender:
        right = torch_nn.prepare(case, data)

        def off(returned: Any) -> dict[str, torch.Tensor]:
            found = right.results(returned)
            return found | {"output": found["output"] + 0.01}

        return peers.Contender(right.call, off)

    wrong = SimpleNamespace(prepare=prepare, takes=torch_nn.takes, version=torch_nn.version)
    load = peers.load
    monkeypatch.setattr(peers, "load", lambda name: wrong if name == "torch.nn" else load(name))
    monkeypatch.setattr(  # in this process, where the wrong contender is
        isolation, "call", lambda measure, threads, /, **arguments: measure(**arguments)
    )
    assert main([*TINY_RUN, "--output", str(tmp_path / "results")]) == 1
    told = capsys.readouterr().out
    assert "Refused" in told
    assert "output of rnnfast and of torch.nn must differ by at most 0.0001" in told
    assert not (tmp_path / "results").exists()


def test_a_run_leaves_json_markdown_and_charts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In processes of their own, as `make bench` does it."""
    options = [*TINY_RUN, "scaling", "--shapes", "7,5,3,9", "7,1,3,9"]
    assert main([*options, "--output", str(tmp_path)]) == 0
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"cpu.json", "cpu.md", "cpu.png", "scaling.png"}
    report = json.loads((tmp_path / "cpu.json").read_text())
    (found,) = report["rows"]
    assert all(each["peak"] > 0 for each in found["rows"])
    assert [each["shape"] for each in found["rows"]] == [[7, 5, 3, 9], [7, 1, 3, 9]]
    assert {each["dimension"] for each in report["scaling"]} == {"T", "N", "H"}
    assert report["machine"]["versions"].keys() == {"rnnfast", "torch.nn"}
    assert re.search("GCC|clang", report["machine"]["compiler"])
    told = capsys.readouterr().out
    for text in ("7, 5, 3, 9", "geometric mean", "Bars:"):
        assert text in told
        assert text in (tmp_path / "cpu.md").read_text()


def test_memory_above_what_must_exist_is_found() -> None:
    shape = Shape(500, 64, 16, 64)
    steps, batch, inputs, hidden = shape
    float32 = 4
    forward, training = (
        memory.measure("torch.nn", "LSTM", mode, list(shape)) for mode in ("forward", "training")
    )
    gates, weights = 4 * hidden, 4 * hidden * (inputs + hidden + 2)
    results = steps * batch * hidden + 2 * batch * hidden
    assert forward["needed"] == (steps * batch * inputs + weights + results) * float32
    assert training["needed"] == (2 * (steps * batch * inputs + weights) + results) * float32
    # torch keeps at least the gates of each step for the backward pass.
    assert training["above"] > steps * batch * gates * float32
    assert training["above"] > 2 * forward["above"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "4096"], "--threads must be in 1.."),
        (["--rounds", "1"], "--rounds must be at least 2, got: 1"),
        (["--shapes", "7,5,3"], "must be T,N,I,H, four positive numbers, got: '7,5,3'"),
    ],
)
def test_bad_options_are_told(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert message in capsys.readouterr().err


def on_the_host(case: Case) -> dict[str, Any]:
    """A row of `benchmarks.cuda`, measured where no GPU is."""
    return cuda.row(case, "fp32", torch.device("cpu"), 0.01, timing._seconds)


def test_beside_cudnn_each_case_is_a_row_under_a_heading_of_its_file(tmp_path: Path) -> None:
    found = [on_the_host(Case("GRU", mode, TINY)) for mode in MODES]
    assert all(each["seconds"].keys() == {"rnnfast", "torch.nn", "product"} for each in found)
    ceilings = {"operations": {"fp32": 1e9}, "bytes": 1e9}
    versions = dict.fromkeys(("gpu", "torch", "cuda", "cudnn", "rnnfast"), "made up")
    file = tmp_path / "cuda.md"
    file.write_text(f"# Notes\n\nBy hand.\n\n{cuda.MEASURED}\n\nof another day\n")
    cuda.write(cuda.markdown(versions | {"ceilings": ceilings, "rows": found}), file)
    written = file.read_text()
    assert written.startswith("# Notes\n\nBy hand.\n\n## Measured\n\nmade up; torch made up")
    assert "of another day" not in written
    assert written.count("| 7, 5, 3, 9 |") == len(MODES)
    assert "fp32 packed-training: times torch.nn" in written


def test_the_bars_beside_cudnn() -> None:
    def made(mode: str, shape: Shape, precision: str, mine: float, other: float) -> dict[str, Any]:
        seconds = {"rnnfast": mine, "torch.nn": other, "product": 1e-4}
        names = {"cell": "LSTM", "mode": mode, "precision": precision}
        return {**names, "shape": list(shape), "seconds": seconds}

    steps = Shape(1000, 64, 9, 256)
    rows_found = [
        made("forward", steps, "bf16", 1e-3, 4e-3),
        made("forward", Shape(1000, 65, 9, 256), "bf16", 2e-3, 2e-3),
        made("forward", cuda.LONG, "fp16", 1.8e-3, 9e-3),
        made("training", cuda.LONG, "fp16", 4.9e-3, 9e-3),
    ]
    assert [tuple(each) for each in cuda.verdicts({"rows": rows_found})] == [
        ("bf16 forward: times torch.nn", "2.00", "2.00", True),
        ("bf16 forward: times torch.nn, worst row", "1.00", "1.00", True),
        ("bf16, H <= 256, N <= 64: a step of the sweep, the longest", "1.00 us", "0.90 us", True),
        ("LSTM fp16 (1024, 16, 768, 768) forward", "1.90 ms", "1.80 ms", True),
        ("LSTM fp16 (1024, 16, 768, 768) training", "4.90 ms", "4.90 ms", False),
    ]


def test_the_floor_is_the_larger_of_operations_and_bytes() -> None:
    case = Case("RNN", "forward", TINY)
    data = draw(case)
    numbers = 7 * 5 * (3 + 9) + 9 * (3 + 9 + 2)
    assert cuda.traffic(case, data, 2) == numbers * 2
    assert cuda.traffic(Case("RNN", "training", TINY), data, 2) == 3 * numbers * 2
    found = {"precision": "bf16", "operations": 50, "bytes": 60}
    for rate, seconds in ((5, 10), (500, 6)):
        assert cuda.floor(found, {"operations": {"bf16": rate}, "bytes": 10}) == seconds


def test_bfloat16_beside_float32_and_torch(tmp_path: Path) -> None:
    run = ["--quick", "--cells", "GRU", "--parts", "precision", "--rounds", "2", "--peers"]
    assert main([*run, "--output", str(tmp_path)]) == 0
    (table,) = json.loads((tmp_path / "cpu.json").read_text())["precision"]
    assert table["cell"] == "GRU"
    assert {row["mode"] for row in table["rows"]} == {"forward", "training"}
    for row in table["rows"]:
        assert row["largest_difference"]["rnnfast float32"] == 0
        assert 0 < row["largest_difference"]["rnnfast bfloat16"] < 0.1
    assert "GRU, narrow precisions" in (tmp_path / "cpu.md").read_text()
