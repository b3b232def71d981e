"""The precision that a run scores in: what is chosen, what its folder says, and which scores are told apart by it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from jobs import score_files
from typer.testing import CliRunner

from flows.__main__ import app
from flows.datasets.base import SCHEMA, write_reviews
from flows.errors import InputError
from flows.parameters import Execution, ReviewsRequest
from flows.steps.train import precision as step
from flows.steps.train.precision import Measured, choose_precision, chosen_of
from flows.tables.columns import Columns
from rnnfast.scoring.scorers import Scorer

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def of(precision: Any, loss: float, seconds: float) -> Measured:
    return Measured(precision, 0.9 - loss, loss, seconds)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([], "fp32"),
        ([of("fp32", 0, 6)], "fp32"),
        ([of("fp32", 0, 6), of("bf16", 0.001, 3)], "bf16"),
        ([of("fp32", 0, 6), of("bf16", 0.0011, 3)], "fp32"),
        ([of("fp32", 0, 6), of("bf16", -0.2, 5.5)], "fp32"),  # within what a clock may be wrong by
        ([of("fp32", 0, 6), of("bf16", 0, 3), of("int8", 0.001, 2)], "int8"),
        ([of("fp32", 0, 6), of("bf16", 0, 3), of("int8", 0.001, 2.9)], "bf16"),
        ([of("fp32", 0, 6), of("bf16", 0.002, 3), of("int8", 0.001, 2.9)], "int8"),
    ],
)
def test_the_fastest_is_chosen_whose_loss_is_within_the_limit(
    measured: list[Measured], expected: str
) -> None:
    assert chosen_of(measured, 0.001) == expected


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    texts = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(40)]
    labels = pa.array([i % 2 for i in range(40)], pa.int8())
    rows = pa.table([texts, texts, labels, pa.nulls(40, pa.string())], schema=SCHEMA)
    for part in ("validation", "test"):
        write_reviews(rows, ("neg", "pos"), folder / f"{part}.parquet")
    return folder


def request(tmp_path: Path, **fields: Any) -> ReviewsRequest:
    return ReviewsRequest(output=tmp_path / "run", **fields)


@pytest.mark.parametrize("bf16_seconds", [1.0, 9.0])
def test_auto_measures_the_validation_part_and_the_run_remembers(
    tmp_path: Path,
    parts: Path,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    bf16_seconds: float,
) -> None:
    clock = iter([0.0, 6.0] * step.REPEATS + [0.0, bf16_seconds] * step.REPEATS)
    monkeypatch.setattr(step, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(step, "is_fast", lambda *_: True)
    monkeypatch.setattr(step, "precisions", lambda _: ("fp32", "bf16"))
    before = json.loads((run_dir / "config.json").read_text())
    asked = request(tmp_path, score_precision="auto", score_loss=0.5)
    found = choose_precision(parts, run_dir, asked)["precision"]
    expected = "bf16" if bf16_seconds < 6 else "fp32"
    assert found["scoring"] == expected
    assert [each["seconds"] for each in found["measured"]] == [6.0, bf16_seconds]
    labels = pq.read_table(parts / "validation.parquet")["label"].to_numpy() == 1
    texts = pq.read_table(parts / "validation.parquet")["text"]
    right = (Scorer.load(run_dir, "fp32").score(texts) >= 0.5) == labels
    assert found["measured"][0]["figure"] == right.mean()
    assert json.loads((run_dir / "config.json").read_text()) == before | {"scoring": expected}


def test_what_is_asked_for_is_what_the_run_scores_in(
    tmp_path: Path, parts: Path, run_dir: Path
) -> None:
    assert choose_precision(parts, run_dir, request(tmp_path)) == {}
    asked = request(tmp_path, score_precision="bf16")
    assert choose_precision(parts, run_dir, asked)["precision"]["scoring"] == "bf16"
    assert json.loads((run_dir / "config.json").read_text())["scoring"] == "bf16"


def test_scores_in_another_precision_are_others(tmp_path: Path, parts: Path, run_dir: Path) -> None:
    source, output = str(parts / "test.parquet"), tmp_path / "scores"
    execution = Execution(workers=1)

    def score(precision: Any) -> tuple[np.ndarray, Any]:
        done = score_files(
            run_dir, source, Columns(id="id"), output, precision=precision, execution=execution
        )
        [record] = done.records
        return pq.read_table(output / f"{record.key}.parquet")["score"].to_numpy(), done

    exact, _ = score("fp32")
    narrow, done = score("bf16")
    assert done.skipped == 0
    assert 0 < np.abs(exact - narrow).max() < 0.01
    assert score("fp32")[1].skipped == score("bf16")[1].skipped == score("auto")[1].skipped == 1


@no_gpu
@pytest.mark.parametrize("command", ["reviews", "sensors", "score"])
def test_a_gpu_that_is_not_there_ends_the_command_with_code_2(
    tmp_path: Path, command: str, run_dir: Path
) -> None:
    (tmp_path / "in.csv").write_text("text\ngood\n")
    of_score = ["--model", str(run_dir), "--input", str(tmp_path / "in.csv")]
    options = ["--device", "cuda", "--output", str(tmp_path / "out")]
    given = [command, *(of_score if command == "score" else []), *options]
    ended = CliRunner().invoke(app, given)
    assert ended.exit_code == 2
    assert "--device must be auto or cpu, got: cuda; this machine has" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_rays_workers_compute_on_the_gpus_that_are_set_aside_for_them() -> None:
    with pytest.raises(InputError, match="--device cuda must go with --gpus"):
        _ = Execution(engine="ray", device="cuda").workers_device
    assert Execution(engine="ray", gpus=1, device="cuda").device_here == "auto"
    assert Execution(engine="ray").workers_device == "cpu"
    assert Execution(engine="ray", gpus=0.5).workers_device == "cuda"
    assert Execution(engine="ray", gpus=1, device="cpu").workers_device == "cpu"
