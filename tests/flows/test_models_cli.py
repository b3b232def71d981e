"""The commands of the registry and of housekeeping, and of scoring by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from flows.store.registry import Model

RunCli = Callable[..., Result]
Finished = Callable[..., Path]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def registry(finished: Finished, tmp_path: Path) -> Path:
    """Of the model "reviews" three versions: retired, candidate, in production."""
    from flows.parameters import Registration
    from flows.steps.train.register import register

    registration = Registration(name="reviews", registry=tmp_path / "models", margin=0.05)
    for name, right in (("a", 7), ("b", 6), ("c", 9)):
        run = finished(name, right)
        metrics = json.loads((run / "metrics.json").read_text())["test"]
        register(run, tmp_path / "runs" / name, metrics, registration)
    return tmp_path / "models"


def test_list_and_show(run_cli: RunCli, registry: Path) -> None:
    result = run_cli("models", "list", "--registry", registry)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][:3] == ["model", "version", "status"]
    assert [line[:3] for line in lines[1:]] == [
        ["reviews", "1", "retired"], ["reviews", "2", "candidate"], ["reviews", "3", "production"]
    ]  # fmt: skip
    assert "not better by 0.05" in result.stdout.splitlines()[2]
    result = run_cli("models", "show", "reviews", "--registry", registry)
    assert result.exit_code == 0, result.output
    assert "3 of reviews" in result.stdout
    assert "source_sha256" in result.stdout
    assert "instead of version 1: accuracy 0.9000" in result.stdout
    assert "2 of reviews" in run_cli("models", "show", "reviews", 2, "--registry", registry).stdout


def test_promote_and_rollback(run_cli: RunCli, registry: Path) -> None:
    model, where = Model(registry / "reviews"), ["--registry", registry]
    before = tree(registry)
    coming = "of reviews would come into production instead of version 3."
    for command, words in (
        (["promote", "reviews", 2, "--dry-run"], f"Version 2 {coming}"),
        (["rollback", "reviews", "--dry-run"], f"Version 1 {coming}"),
        (["promote", "reviews", 3], "Version 3 of reviews is in production already."),
    ):
        result = run_cli("models", *command, *where)
        assert (result.exit_code, result.stdout.strip()) == (0, words)
        assert tree(registry) == before
    result = run_cli("models", "promote", "reviews", 2, "--reason", "a test", *where)
    assert "Version 2 of reviews is in production instead of version 3." in result.stdout
    assert model.standing().reason(2) == "a test"
    for expected in (3, 1):
        assert run_cli("models", "rollback", "reviews", *where).exit_code == 0
        assert model.standing().production == expected
    result = run_cli("models", "rollback", "reviews", *where)
    assert result.exit_code == 2
    rule = "NAME must be of a model with an earlier version in production to go back to"
    assert f"{rule}, 'reviews' has version 1 alone" in result.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["promote", "reviews", 7], "VERSION must be one of 'reviews', which has 1, 2, 3; got: 7"),
        (["show", "reviews", 7], "VERSION must be one of 'reviews', which has 1, 2, 3; got: 7"),
        (["show", "other"], "which has reviews; got: 'other'"),
        (["rollback", "other"], "NAME must be a model of"),
    ],
)
def test_what_is_not_there(run_cli: RunCli, registry: Path, command: list[str], words: str) -> None:
    result = run_cli("models", *command, "--registry", registry)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_no_registry(run_cli: RunCli, tmp_path: Path) -> None:
    result = run_cli("models", "list", "--registry", tmp_path / "no")
    assert (result.exit_code, "--registry must be a folder that exists" in result.stderr) == (
        2,
        True,
    )


def test_clean(run_cli: RunCli, registry: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "config.json").write_text("{}")
    options = ["--registry", registry, "--runs", tmp_path / "runs", "--keep", 1]
    before = tree(tmp_path)
    result = run_cli("clean", *options, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "version 2 of reviews, candidate" in result.stdout
    assert "Would remove 1 folders and files, " in result.stdout
    assert tree(tmp_path) == before
    assert "Removed 1 folders and files, " in run_cli("clean", *options).stdout
    assert Model(registry / "reviews").numbers() == [1, 3]
    assert run_cli("clean", *options, "--keep", 0).exit_code == 2


def test_training_dry(run_cli: RunCli, registry: Path, tmp_path: Path, sensors_csv: Path) -> None:
    (tmp_path / "aclImdb_v1.tar.gz").touch()  # which is there, and not read
    before = tree(tmp_path)
    for command in (
        ["reviews", "--dataset", "imdb", "--mirror", tmp_path],
        ["sensors", "--dataset", sensors_csv],
    ):
        result = run_cli(
            *command, "--output", tmp_path / "run", "--epochs", 7, "--register", "reviews",
            "--registry", registry, "--dry-run",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
        assert "training epochs 7" in lines
        assert f"Would leave the run at {tmp_path / 'run'}" in lines
        assert any("if it is better than version 3 by 0.005" in line for line in lines)
    assert tree(tmp_path) == before


@pytest.fixture
def sensors_csv(tmp_path: Path) -> Path:
    path = tmp_path / "readings.csv"
    path.write_text("time,load\n" + "".join(f"{10**9 + i},{i % 7}\n" for i in range(99)))
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--margin", "0.1"], "--margin must go with --register NAME, got: 0.1 alone"),
        (["--register", "a/b"], "--register must match pattern"),
        (
            ["--register", "a", "--margin", "-1"],
            "--margin must be greater than or equal to 0, got '-1'",
        ),
    ],
)
def test_registration_options(
    run_cli: RunCli, tmp_path: Path, options: list[str], words: str
) -> None:
    result = run_cli("reviews", "--output", tmp_path / "run", *options)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--since", "2026-02-01", "--until", "2026-01-01"],
            "until must be later than since 2026-02-01, got: 2026-01-01",
        ),
        (["--every", "0"], "--every must be greater than or equal to 1"),
        (["--since", "yesterday"], "--since must be a valid date"),
        (["--settle", "-1"], "--settle must be greater than or equal to 0, got '-1'"),
        (["--model", "other"], "--model must be the folder of a run, or one of the models of"),
    ],
)
def test_scoring_options(
    run_cli: RunCli,
    registry: Path,
    reviews_csv: Path,
    tmp_path: Path,
    options: list[str],
    words: str,
) -> None:
    common = [
        "--model",
        "reviews",
        "--registry",
        registry,
        "--input",
        reviews_csv,
        "--output",
        tmp_path / "out",
    ]
    result = run_cli("score", *common, *options, "--dry-run")
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_scoring_by_name(
    server: None, run_cli: RunCli, registry: Path, reviews_csv: Path, tmp_path: Path
) -> None:
    common = ["score", "--model", "reviews", "--registry", registry, "--input", reviews_csv,
              "--output", tmp_path / "out", "--new", "--settle", 0]  # fmt: skip
    before = tree(tmp_path)
    result = run_cli(*common, "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"Would score 1 of 1 shard of 1 file into {tmp_path / 'out'}" in result.stdout
    assert tree(tmp_path) == before
    result = run_cli(*common)
    assert result.exit_code == 0, result.output
    assert "rows scored    120" in result.stdout
    [run] = (tmp_path / "out" / "runs").iterdir()
    [content] = json.loads(run.read_text())["runs"]
    assert content["model"] == str(registry / "reviews" / "3")
    result = run_cli(*common)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Nothing to do: nothing new; 1 file in the input",
        "Read 0 rows: scored 0, rejected 0, left out 0",
    ]
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
    assert any(
        run.state is not None
        and run.state.is_completed()
        and run.state.message == "nothing new; 1 file in the input"
        for run in runs
    )


def test_training_and_registering(
    server: None, run_cli: RunCli, reviews_csv: Path, tmp_path: Path
) -> None:
    settings = [
        "--cell",
        "ngrams",
        "--set",
        "max_pairs=20",
        "--register",
        "reviews",
        "--registry",
        tmp_path / "models",
    ]
    for name in "ab":
        result = run_cli(
            "reviews", "--dataset", reviews_csv, *settings, "--output", tmp_path / name
        )
        assert result.exit_code == 0, result.output
        assert (tmp_path / name / "report.html").exists()
        model = Model(tmp_path / "models" / "reviews")
        assert (model.numbers(), model.standing().production) == ([1], 1)
    assert sorted(path.name for path in model.path(1).iterdir()) == [
        "config.json", "metrics.json", "model.safetensors", "profile.json", "report.html", "scores",
        "version.json",
        "vocabulary.txt",
    ]  # fmt: skip
    assert set(model.record(1)["data"]["parts_sha256"]) >= {
        "train.parquet",
        "validation.parquet",
        "test.parquet",
    }
