import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.datasets.readers import Columns
from flows.errors import InputError
from flows.steps import score as step
from flows.steps.score import score_files
from rnnfast.scoring import Scorer

TEXTS = Columns()


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
        assert pq.read_schema(path).equals(step.OUTPUT)


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


def test_what_is_done_is_not_done_again(
    run_dir: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, pattern = tmp_path / "out", str(inputs / "*/*.csv")
    score_files(run_dir, pattern, TEXTS, output)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    next(output.glob("*.parquet")).unlink()
    summary = score_files(run_dir, pattern, TEXTS, output)
    assert (summary.shards, summary.skipped, summary.rows, summary.rejected) == (2, 1, 4, 2)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    monkeypatch.setattr(Scorer, "score", None)
    assert score_files(run_dir, pattern, TEXTS, output).skipped == 2


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

    def fails_the_second_time(self: Scorer, texts: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        return original(self, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(Scorer, "score", fails_the_second_time)
    with pytest.raises(OSError, match="No space left"):
        score_files(run_dir, pattern, TEXTS, output)
    assert len(list(output.iterdir())) == 2  # the shard that was whole, and rejected/
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
