import hashlib
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs import content as everything
from jobs import score_files

from flows.errors import InputError
from flows.parameters import Execution
from flows.steps.score.reviews import review_scores
from flows.store.outputs import MANIFEST, SUCCESS
from flows.tables.columns import Columns
from rnnfast.models.texts import PAIR
from rnnfast.scoring.scorers import Scorer

TEXTS = Columns()
ALONE = Execution(workers=1)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Two files of the same name in two folders, with two bad rows between them."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
    (tmp_path / "in" / "a" / "x.csv").write_bytes(b"text\ngood\ncaf\xe9\nbad\n")
    (tmp_path / "in" / "b" / "x.csv").write_bytes(b"text,other\ngood,1\n,2\nbad,3\n")
    return tmp_path / "in"


def rows(output: Path) -> list[dict[str, object]]:
    return [
        row for path in sorted(output.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_every_good_row_once_with_its_score(run_dir: Path, inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = score_files(run_dir, str(inputs / "*/*.csv"), TEXTS, output)
    assert (summary.shards, summary.skipped, summary.rows, summary.rejected) == (2, 0, 4, 2)
    found = {row["id"]: row for row in rows(output)}
    assert set(found) == {"a/x.csv:1", "a/x.csv:3", "b/x.csv:1", "b/x.csv:3"}
    scorer = Scorer.load(run_dir)
    for name, text in (("a/x.csv:1", "good"), ("b/x.csv:3", "bad")):
        score = scorer.score([text])[0]
        assert found[name]["score"] == pytest.approx(score, abs=1e-6)
        assert found[name]["label"] == ("pos" if score >= 0.5 else "neg")
    for path in output.glob("*.parquet"):
        assert pq.read_schema(path).equals(review_scores(PAIR))


def test_bad_rows_go_to_a_side_file(run_dir: Path, inputs: Path, tmp_path: Path) -> None:
    score_files(run_dir, str(inputs / "*/*.csv"), TEXTS, tmp_path / "out")
    lines = [
        json.loads(line)
        for path in (tmp_path / "out" / "rejected").iterdir()
        for line in path.read_text().splitlines()
    ]
    assert sorted(lines, key=lambda line: str(line["input"])) == [
        {"input": "a/x.csv", "row": 2, "reason": "the text is not UTF-8"},
        {"input": "b/x.csv", "row": 2, "reason": "the text is missing"},
    ]


def test_a_shard_whose_rejected_rows_somebody_removed_is_done_again(
    run_dir: Path, inputs: Path, tmp_path: Path
) -> None:
    arguments = (run_dir, str(inputs / "*/*.csv"), TEXTS, tmp_path / "out")
    done = score_files(*arguments)
    listed = list((tmp_path / "out" / "rejected").iterdir())
    listed[0].unlink()
    again = score_files(*arguments)
    assert (again.shards, again.skipped) == (done.shards, done.shards - 1)
    assert listed[0].exists()


def test_a_file_with_a_long_name(run_dir: Path, tmp_path: Path) -> None:
    for name in ("xé" * 80, "xé" * 79):  # 244 bytes
        (tmp_path / f"{name}.csv").write_text("text\ngood\n")
    done = score_files(run_dir, str(tmp_path / "*.csv"), TEXTS, tmp_path / "out")
    assert (done.shards, done.rows) == (2, 2)
    stems = {path.stem[:-17] for path in (tmp_path / "out").glob("*.parquet")}
    assert stems == {"xé" * 33 + "x"}


@pytest.mark.parametrize("lost", ["parquet", "json", "both"])
def test_what_is_done_is_not_done_again(
    run_dir: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    output, pattern = tmp_path / "out", str(inputs / "*/*.csv")
    score_files(run_dir, pattern, TEXTS, output, execution=ALONE)
    before = everything(output)
    victim = next(output.glob("*.parquet"))
    for suffix in ("parquet", "json") if lost == "both" else (lost,):
        victim.with_suffix(f".{suffix}").unlink()
    (output / SUCCESS).unlink()
    summary = score_files(run_dir, pattern, TEXTS, output, execution=ALONE)
    assert (summary.shards, summary.skipped, summary.rows, summary.rejected) == (2, 1, 4, 2)
    assert everything(output) == before
    monkeypatch.setattr(Scorer, "score", None)
    assert score_files(run_dir, pattern, TEXTS, output, execution=ALONE).skipped == 2
    assert everything(output) == before


def test_the_manifest_lists_what_the_run_came_to(
    run_dir: Path, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    score_files(run_dir, str(inputs), TEXTS, output, execution=Execution(workers=1, shard_rows=2))
    assert (output / SUCCESS).read_bytes() == b""
    manifest = json.loads((output / MANIFEST).read_text())
    assert (manifest["rows"], manifest["rejected"]) == (4, 2)
    assert manifest["schema"] == {"id": "string", "score": "float", "label": "string"}
    assert manifest["settings"]["model"] == Scorer.load(run_dir).digest
    assert [(s["input"], s["first_row"], s["input_rows"]) for s in manifest["shards"]] == [
        ("a/x.csv", 1, 2), ("a/x.csv", 3, 1), ("b/x.csv", 1, 2), ("b/x.csv", 3, 1),
    ]  # fmt: skip
    for shard in manifest["shards"]:
        content = (output / f"{shard['key']}.parquet").read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        assert pq.read_metadata(pa.BufferReader(content)).num_rows == shard["rows"]
        assert json.loads((output / f"{shard['key']}.json").read_text()) == shard
    with caplog.at_level(logging.WARNING):
        score_files(run_dir, str(inputs / "a"), TEXTS, output, execution=ALONE)
    assert "has 4 shards of other inputs or models too" in caplog.text
    assert len(json.loads((output / MANIFEST).read_text())["shards"]) == 1


def test_a_run_that_fails_says_so_by_what_it_leaves(
    run_dir: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    score_files(run_dir, str(inputs / "a"), TEXTS, output, execution=ALONE)
    (inputs / "b" / "x.csv").write_bytes(b"other\n1\n")
    with pytest.raises(InputError):
        score_files(run_dir, str(inputs), TEXTS, output, execution=ALONE)
    assert not (output / SUCCESS).exists()


def test_the_number_of_workers_changes_no_byte(run_dir: Path, tmp_path: Path) -> None:
    texts = [f"a {'good' if i % 3 else 'bad'} one " * (i % 7) for i in range(200)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    found = []
    for workers in (1, 2, 3):
        output = tmp_path / f"out{workers}"
        execution = Execution(workers=workers, shard_rows=30)
        summary = score_files(
            run_dir, str(tmp_path / "in.parquet"), TEXTS, output, execution=execution
        )
        assert (summary.shards, summary.rows) == (7, 200)
        found.append(everything(output))
    assert found[0] == found[1] == found[2]


def test_a_model_that_changes_while_it_scores(
    run_dir: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter(["one", "another"])
    original = Scorer.load

    def load(folder: Path, *options: Any) -> Scorer:
        return replace(original(folder, *options), digest=next(digests))

    monkeypatch.setattr(Scorer, "load", load)
    with pytest.raises(InputError, match="--model must stay as it is"):
        score_files(run_dir, str(inputs), TEXTS, tmp_path / "out", execution=ALONE)


@pytest.mark.parametrize("change", ["cut", "grown", "removed"])
def test_a_file_that_changes_while_it_is_read(
    run_dir: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    output, pattern = tmp_path / "out", str(inputs / "*/*.csv")
    later, original = inputs / "b" / "x.csv", Scorer.score
    whole = later.read_bytes()

    def while_it_scores(self: Scorer, *arguments: object) -> np.ndarray:
        if change == "removed":
            later.unlink(missing_ok=True)
        else:
            later.write_bytes(whole[:-4] if change == "cut" else whole + b"good,4\n")
        return original(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "score", while_it_scores)
        with pytest.raises(InputError, match=r"b/x\.csv (has changed|must stay as it is)"):
            score_files(run_dir, pattern, TEXTS, output, execution=ALONE)
    assert not (output / MANIFEST).exists()
    assert not (output / SUCCESS).exists()
    later.write_bytes(whole)
    assert score_files(run_dir, pattern, TEXTS, output).rows == 4


@pytest.mark.parametrize(
    ("limit", "workers"), [("100MB", None), ("1.5GB", 1), ("2.5GB", 2), ("1TB", 7), (None, 7)]
)
def test_no_more_workers_than_there_is_memory_for(limit: str | None, workers: int | None) -> None:
    execution = Execution.model_validate({"workers": 7, "memory_limit": limit})
    if workers is None:
        with pytest.raises(InputError, match=r"--memory-limit must be at least 1.*, got: 100.0 MB"):
            execution.fitting_workers(700 << 20)
    else:
        assert execution.fitting_workers(700 << 20) == workers


def test_another_input_model_or_column_is_another_shard(
    run_dir: Path, inputs: Path, tmp_path: Path
) -> None:
    output, path = tmp_path / "out", inputs / "b" / "x.csv"
    score_files(run_dir, str(path), TEXTS, output)
    path.write_bytes(path.read_bytes() + b"more,4\n")
    score_files(run_dir, str(path), TEXTS, output)
    score_files(run_dir, str(path), Columns("other"), output)
    (run_dir / "vocabulary.txt").write_text("[UNK]\npad\nother\nbad\n")
    score_files(run_dir, str(path), TEXTS, output)
    assert len(list(output.glob("x-*.parquet"))) == 4


def test_moving_the_input_changes_nothing(run_dir: Path, inputs: Path, tmp_path: Path) -> None:
    score_files(run_dir, str(inputs / "*/*.csv"), TEXTS, tmp_path / "out")
    inputs.rename(tmp_path / "moved")
    summary = score_files(run_dir, str(tmp_path / "moved/*/*.csv"), TEXTS, tmp_path / "out")
    assert summary.skipped == 2


def test_a_failure_in_the_middle_leaves_no_half_shard(
    run_dir: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, pattern = tmp_path / "out", str(inputs / "*/*.csv")
    original, calls = Scorer.score, 0

    def fails_the_second_time(self: Scorer, *arguments: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Scorer, "score", fails_the_second_time)
    with pytest.raises(OSError, match="No space left"):
        score_files(run_dir, pattern, TEXTS, output, execution=ALONE)
    assert len(list(output.glob("*.parquet"))) == len(list(output.glob("*.json"))) == 1
    assert not list(output.glob(".*"))
    assert score_files(run_dir, pattern, TEXTS, output).rows == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text\n", "has no row"),
        (b"text,other\n,1\n", "has 1 rejected ones"),
        (b"other\n1\n", "--text-column must name a column"),
    ],
)
def test_nothing_to_score(run_dir: Path, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        score_files(run_dir, str(path), TEXTS, tmp_path / "out")


def test_no_output_folder_where_nothing_came_of_it(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"other\n1\n")
    with pytest.raises(InputError):
        score_files(run_dir, str(tmp_path / "x.csv"), TEXTS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--model: .* must be the folder of a run"):
        score_files(tmp_path, "x.csv", TEXTS, tmp_path / "out")


def test_the_first_shard_waits_for_no_library_that_it_does_not_need() -> None:
    command = [sys.executable, "-c", "import sys, flows.score; print(*sys.modules)"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not {"torch._dynamo", "sklearn", "matplotlib"} & set(done.stdout.split())
