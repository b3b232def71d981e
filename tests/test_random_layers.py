"""Random layers beside torch.nn: what is drawn, compared and told. Speed itself is not tested."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.parity import MismatchError
from benchmarks.random_layers import __main__ as program
from benchmarks.random_layers import measuring
from benchmarks.random_layers.layers import CELLS, MOST_OPERATIONS, Layer, drawn


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECONDS", "SECONDS_AGAIN"):
        monkeypatch.setattr(measuring, name, 0.001)


def test_a_seed_draws_the_same_layers_of_every_kind() -> None:
    layers = drawn(300, 3, [1, 2])
    assert layers == drawn(300, 3, [1, 2])
    assert layers != drawn(300, 4, [1, 2])
    assert all(layer.operations <= MOST_OPERATIONS for layer in layers)
    assert {layer.cell for layer in layers} == set(CELLS)
    for size, least, most in (("steps", 1, 300), ("batch", 1, 200), ("hidden", 8, 1024)):
        sizes = [getattr(layer, size) for layer in layers]
        assert least <= min(sizes) < least + 8
        assert most / 2 < max(sizes) <= most
    for choice in ("bidirectional", "batch_first", "training", "threads", "layers"):
        assert len({getattr(layer, choice) for layer in layers}) > 1


def test_operations_are_those_of_all_layers_and_directions() -> None:
    layer = Layer("LSTM", 5, 3, 7, 9, layers=2, bidirectional=True)
    assert layer.operations == 2 * 5 * 3 * 2 * 4 * 9 * (7 + 9 + 2 * 9 + 9)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("training", [False, True])
def test_both_contenders_compute_the_same(cell: str, training: bool) -> None:
    layer = Layer(cell, 4, 3, 5, 9, layers=2, bidirectional=True, training=training)
    (found,) = measuring.measure([asdict(layer)])
    assert found["speed"] == found["torch.nn"] / found["rnnfast"] > 0
    ours, _ = measuring.contenders(layer)
    assert len(ours()) == (3 if cell == "LSTM" else 2) + (17 if training else 0)


def test_a_wrong_result_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = measuring.contenders

    def wrong(layer: Layer) -> list[Any]:
        ours, theirs = right(layer)
        return [lambda: tuple(each + 1 for each in ours()), theirs]

    monkeypatch.setattr(measuring, "contenders", wrong)
    with pytest.raises(MismatchError, match="GRU, T=2 N=1 I=3 H=8, forward"):
        measuring.measure([asdict(Layer("GRU", 2, 1, 3, 8))])


def test_a_slower_layer_is_printed_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "fastest", lambda calls, seconds: [2e-6, 1e-6])
    found = measuring.measure([asdict(Layer("RNN", 2, 1, 3, 8, batch_first=True))])
    assert "0.50 x, 2 us, RNN, T=2 N=1 I=3 H=8, batch first, forward" in capsys.readouterr().out
    assert program.summary([found[0]["speed"], 0.92, 2.0]) == {
        "layers": 3,
        "mean": 1.14,
        "geometric mean": 0.973,
        "least": 0.5,
        "below 0.95": 2,
        "below 0.9": 1,
    }


def test_a_run_prints_a_summary_and_leaves_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "drawn", lambda *_: [Layer("LSTM", 2, 1, 3, 8)])
    file = tmp_path / "deep" / "random.json"
    assert program.main(["--threads", "1", "--precision", "float64", "--output", str(file)]) == 0
    assert "layers 1, mean " in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["layers"][0]["precision"] == "float64"
    assert report["machine"]["versions"]["torch.nn"] == torch.__version__


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--count", "0"], "--count must be at least 1, got: 0"),
        (["--threads", "999"], "--threads must be in 1.."),
    ],
)
def test_bad_options_are_told(
    option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        program.main(option)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
