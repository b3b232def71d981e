import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from flows.errors import TransferError
from flows.steps.prepare.download import sha256
from flows.steps.train import train
from rnnfast.scoring.scorers import Scorer

RunCli = Callable[..., Result]
Member = tuple[str, bytes]
Mirror = Callable[[list[Member]], Path]
FILES = ["config.json", "metrics.json", "model.safetensors", "profile.json", "report.html", "scores",
         "vocabulary.txt"]  # fmt: skip


def assert_refused(result: Result, folder: Path, *parts: str) -> None:
    """Code 2, one message with all of the parts and no traceback, and nothing left in the folder."""
    assert result.exit_code == 2, result.output
    message = result.stderr
    assert "Traceback" not in message
    for part in parts:
        assert part in message
    assert [p.name for p in folder.iterdir() if p.name == "run" or ".partial" in p.name] == []


def test_from_a_file_to_scores(
    server: None, run_cli: RunCli, tiny: list[str], reviews_csv: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = ["--dataset", reviews_csv, "--group-column", "movie", *tiny]
    result = run_cli("reviews", *options, "--output", run)
    assert result.exit_code == 0, result.output
    assert "test accuracy" in result.stdout
    assert f"Report: {run / 'report.html'}" in result.stdout
    assert sorted(path.name for path in run.iterdir()) == FILES
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    metrics = json.loads((run / "metrics.json").read_text())
    stages = ["download", "prepare", "vocabulary", "check", "train", "precision", "evaluate", "score", "describe",
              "total"]  # fmt: skip
    assert list(metrics["seconds"]) == stages
    assert sum(metrics["seconds"][stage] for stage in stages[:-1]) <= metrics["seconds"]["total"]
    assert metrics["data"]["test_rows"] == metrics["test"]["rows"] == 30
    assert len(metrics["history"]) == 1
    config = json.loads((run / "config.json").read_text())
    assert config["labels"] == ["neg", "pos"]
    assert config["model"]["hidden_size"] == 4

    # The scores of the test rows are those that scoring the same file gives.
    [scored] = (run / "scores").glob("*.parquet")
    of_run = {row["id"]: row for row in pq.read_table(scored).to_pylist()}
    assert len(of_run) == 30
    result = run_cli("score", "--model", run, "--input", reviews_csv, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    [scored] = (tmp_path / "out").glob("*.parquet")
    rows = pq.read_table(scored).to_pylist()
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(120)]
    for row in rows:
        if row["id"] in of_run:
            assert row["score"] == pytest.approx(of_run[row["id"]]["score"], abs=1e-5)
        assert row["label"] == ("pos" if row["score"] >= 0.5 else "neg")
    result = run_cli("score", "--model", run, "--input", reviews_csv, "--output", tmp_path / "out")
    assert "1 of them done before" in result.stdout


def test_same_seed_same_run(
    server: None, run_cli: RunCli, tiny: list[str], reviews_csv: Path, tmp_path: Path
) -> None:
    for name, seed, rows in (("a", 5, 8), ("b", 5, 4), ("c", 6, 8)):
        shards = ["--shard-rows", rows, "--memory-limit", "4GB"]
        options = ["--dataset", reviews_csv, "--seed", seed, *shards, *tiny]
        assert run_cli("reviews", *options, "--output", tmp_path / name).exit_code == 0
    a, b, c = (tmp_path / name for name in "abc")
    for name in ("model.safetensors", "config.json", "vocabulary.txt"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    test = [json.loads((run / "metrics.json").read_text())["test"] for run in (a, b)]
    assert test[0] == test[1]
    assert Scorer.load(a).digest == Scorer.load(b).digest != Scorer.load(c).digest


def test_the_shares_of_the_test_and_validation_rows(
    server: None, run_cli: RunCli, tiny: list[str], reviews_csv: Path, tmp_path: Path
) -> None:
    shares = ["--set", "test_share=0.5", "--set", "validation_share=0.5"]
    options = ["--dataset", reviews_csv, *tiny, *shares]
    assert run_cli("reviews", *options, "--output", tmp_path / "run").exit_code == 0
    data = json.loads((tmp_path / "run" / "metrics.json").read_text())["data"]
    assert (data["train_rows"], data["validation_rows"], data["test_rows"]) == (30, 30, 60)
    both = [*options, "--test-dataset", reviews_csv, "--output", tmp_path / "both"]
    assert_refused(run_cli("reviews", *both), tmp_path / "run", "where test_dataset has the test")


@pytest.mark.parametrize("cell", ["mlp", "cnn", "ngrams"])
def test_other_cells(
    server: None, run_cli: RunCli, tiny: list[str], reviews_csv: Path, tmp_path: Path, cell: str
) -> None:
    options = ["--dataset", reviews_csv, "--cell", cell, "--set", "max_pairs=20", *tiny]
    result = run_cli("reviews", *options, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    scores = Scorer.load(tmp_path / "run").score(["a good one", "a bad one"])
    assert np.isfinite(scores).all()


def reviews_of(parts: tuple[str, ...] = ("train", "test")) -> list[Member]:
    """Reviews enough to split, each of a movie of its own."""
    members: list[Member] = []
    for part in parts:
        for label, star in (("neg", 1), ("pos", 10)):
            urls = "".join(
                f"http://www.imdb.com/title/tt{label == 'pos'}{i}/x\n" for i in range(20)
            )
            members.append((f"aclImdb/{part}/urls_{label}.txt", urls.encode()))
            members += [
                (f"aclImdb/{part}/{label}/{i}_{star}.txt", f"{label} number {i}".encode())
                for i in range(20)
            ]
    return members


@pytest.fixture
def mirror_of(tmp_path: Path, pack: Callable[[Path, list[Member]], Path]) -> Mirror:
    """Makes a mirror with an archive of these members."""

    def make(members: list[Member]) -> Path:
        folder = tmp_path / "mirror"
        folder.mkdir()
        digest = sha256(pack(folder / "aclImdb_v1.tar.gz", members))
        (folder / "SHA256SUMS").write_text(f"{digest}  aclImdb_v1.tar.gz\n")
        return folder

    return make


def test_imdb_from_a_mirror(
    server: None, run_cli: RunCli, mirror_of: Mirror, tiny: list[str], tmp_path: Path
) -> None:
    mirror = mirror_of(reviews_of())
    options = ["--dataset", "imdb", "--mirror", mirror, *tiny, "--output", tmp_path / "run"]
    result = run_cli("reviews", *options)
    assert result.exit_code == 0, result.output
    # The texts of the test rows are those of the training rows: nothing is left to measure.
    assert "40 texts left out" in result.stdout or "without duplicates" not in result.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["data"]["duplicates_in_train_and_test"] == 40
    assert metrics["test_without_duplicates"] is None


def test_a_mirror_with_another_file(
    server: None, run_cli: RunCli, mirror_of: Mirror, tmp_path: Path
) -> None:
    mirror = mirror_of(reviews_of())
    expected = (mirror / "SHA256SUMS").read_text().split()[0]
    with (mirror / "aclImdb_v1.tar.gz").open("ab") as file:
        file.write(b"x")
    options = ["--dataset", "imdb", "--mirror", mirror, "--output", tmp_path / "run"]
    result = run_cli("reviews", *options)
    assert_refused(result, tmp_path, "aclImdb_v1.tar.gz must have the SHA-256", expected, "found")


def test_a_mirror_with_an_unsafe_archive(
    server: None, run_cli: RunCli, mirror_of: Mirror, tmp_path: Path
) -> None:
    mirror = mirror_of([*reviews_of(), ("../../evil.txt", b"x")])
    options = ["--dataset", "imdb", "--mirror", mirror, "--output", tmp_path / "run"]
    assert_refused(run_cli("reviews", *options), tmp_path, "'../../evil.txt' points outside")


HEAD = b"text,label\n"
BAD_FILES: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["--dataset must hold at least one row"]),
    "header only": (HEAD, ["--dataset must hold at least one row"]),
    "no text column": (b"review,label\na,1\n", ["--text-column", "'review', 'label'", "'text'"]),
    "no label column": (b"text,stars\na,1\n", ["--label-column", "'text', 'stars'", "'label'"]),
    "one class": (HEAD + b"a,1\nb,1\n", ["--label-column 'label'", "found 1: '1' (2 rows)"]),
    "many labels": (
        HEAD + b"".join(b"text %d,n%d\n" % (i, i) for i in range(300)),
        ["enough rows of every label", "and 295 more"],
    ),
    "missing label": (HEAD + b"a,1\nb,\nc,0\n", ["--label-column 'label'", "row 2 of"]),
    "missing text": (HEAD + b"a,1\n,0\n", ["row 2: the text is missing"]),
    "not UTF-8": (HEAD + b"a,1\ncaf\xe9,0\n", ["row 2: the text is not UTF-8"]),
    "ragged": (HEAD + b"a,1\na,b,0\n", ["row 2: 2 fields expected, found 3"]),
    "too few rows": (HEAD + b"a,1\nb,0\n", ["enough rows of both labels", "found 2"]),
    "no words": (HEAD + b"!,1\n?,0\n" * 20, ["--text-column", "at least one word"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_used(
    server: None, run_cli: RunCli, tmp_path: Path, name: str
) -> None:
    content, parts = BAD_FILES[name]
    (tmp_path / "bad.csv").write_bytes(content)
    options = ["--dataset", tmp_path / "bad.csv", "--output", tmp_path / "run"]
    assert_refused(run_cli("reviews", *options), tmp_path, *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--dataset", "no/such.csv"], ["--dataset must name a file that exists", "no/such.csv"]),
        (["--dataset", "imdb", "--mirror", "/no/such"], ["--mirror must be a folder", "/no/such"]),
    ],
)
def test_data_that_is_not_there(
    server: None, run_cli: RunCli, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    assert_refused(run_cli("reviews", *options, "--output", tmp_path / "run"), tmp_path, *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--epochs", "-1"], ["--epochs must ", "greater than or equal to 1", "got '-1'"]),
        (["--epochs", "many"], ["--epochs must be a valid integer", "got 'many'"]),
        (["--learning-rate", "0"], ["--learning-rate must ", "greater than 0", "got '0'"]),
        (["--batch-size", "0"], ["--batch-size must ", "got '0'"]),
        (
            ["--cell", "transformer"],
            [
                "--cell",
                "'transformer' is not one of 'auto', 'rnn', 'gru', 'lstm', 'mlp', 'cnn', 'ngrams'",
            ],
        ),
        (["--cell", "mlp", "--preset", "lecture"], ["--cell must be rnn for --preset lecture"]),
        (["--preset", "best"], ["--preset", "'best' is not one of 'default', 'lecture'"]),
        (["--set", "colour=3"], ["--set must be NAME=VALUE", "hidden_size", "'colour=3'"]),
        (["--set", "hiden_size=3"], ["got 'hiden_size=3'; did you mean hidden_size"]),
        (["--set", "hidden_size"], ["--set must be NAME=VALUE, got 'hidden_size'"]),
        (["--set", "cell=gru"], ["--set must not give cell", "got 'cell=gru'"]),
        (["--set", "test_share=0"], ["--set test_share must ", "greater than 0", "got '0'"]),
        (
            ["--set", "test_share=0.3"],
            ["--set test_share must be left out for 'sample'", "got: 0.3"],
        ),
        (["--limit", "blank=a"], ["--limit blank must be a valid number", "got 'a'"]),
        (["--register", "a/b"], ["--register must match pattern"]),
        (["--set", "hidden_size=big"], ["--set hidden_size must ", "got 'big'"]),
        (["--test-dataset", "x.csv"], ["--test-dataset must not be given for 'sample'"]),
        (["--workers", "0"], ["--workers must ", "greater than or equal to 1", "got '0'"]),
        (["--shard-rows", "few"], ["--shard-rows must ", "got 'few'"]),
        (["--memory-limit", "much"], ["--memory-limit: ", "got 'much'"]),
        (["--engine", "dask"], ["--engine", "'dask' is not one of 'local', 'ray'"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_options_are_checked_before_anything_starts(
    run_cli: RunCli, tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    assert_refused(run_cli("reviews", *options, "--output", tmp_path / "run"), tmp_path, *parts)


def test_a_run_is_not_overwritten_by_mistake(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    assert_refused(run_cli("reviews", "--output", tmp_path / "taken"), tmp_path, "--output must be")
    result = run_cli("reviews", "--output", tmp_path / "taken", "--overwrite")
    assert_refused(result, tmp_path, "--overwrite only replaces the folder of a run")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--model", "no/run"], ["--model must be the folder of a run", "no/run"]),
        (["--input", "no/*.csv"], ["--input must name a file that exists", "no/*.csv"]),
        (["--text-column", "review"], ["--text-column", "'review'"]),
        (["--id-column", "key"], ["--id-column", "'key'"]),
    ],
)
def test_bad_input_to_score(
    server: None,
    run_cli: RunCli,
    run_dir: Path,
    reviews_csv: Path,
    tmp_path: Path,
    options: list[str],
    parts: list[str],
) -> None:
    good = ["--model", run_dir, "--input", reviews_csv, "--output", tmp_path / "out"]
    assert_refused(run_cli("score", *good, *options), tmp_path, *parts)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(
    server: None, run_cli: RunCli, tiny: list[str], small_disk: Path
) -> None:
    options = ["--dataset", "sample", *tiny, "--output", small_disk / "run"]
    assert_refused(run_cli("reviews", *options), small_disk, "No space left on device")


def test_a_disk_that_is_full_when_the_model_is_saved(
    server: None,
    run_cli: RunCli,
    tiny: list[str],
    reviews_csv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(run: Path, *arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run / "model.safetensors"))

    monkeypatch.setattr(train, "save_run", full)
    options = ["--dataset", reviews_csv, *tiny, "--output", tmp_path / "run"]
    result = run_cli("reviews", *options)
    assert_refused(result, tmp_path, "model.safetensors", "No space left on device")


def test_a_download_that_does_not_recover(
    server: None, run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.orchestration import training_run

    def broken(*_: object) -> Path:
        raise TransferError("http://host/file broke off after 7 bytes")

    task = training_run.download_task.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(task, "fn", broken)
    monkeypatch.setattr(training_run, "download_task", task)
    result = run_cli("reviews", "--dataset", "imdb", "--output", tmp_path / "run")
    assert_refused(result, tmp_path, "broke off after 7 bytes")
