"""Runs side by side on the command line."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

RUN = json.loads((Path(__file__).parents[1] / "report_run.json").read_text(encoding="utf-8"))
RunCli = Callable[..., Result]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs, of which the second is better and larger."""
    folders = []
    for name, size, accuracy in (("one", 128, 0.8834), ("[two]", 256, 0.9)):
        run = copy.deepcopy(RUN)
        run["config"]["model"]["hidden_size"] = size
        run["metrics"]["test"]["accuracy"] = accuracy
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        for part in ("config", "metrics"):
            (folders[-1] / f"{part}.json").write_text(json.dumps(run[part]))
    return folders


def test_runs_side_by_side(run_cli: RunCli, runs: list[Path], tmp_path: Path) -> None:
    result = run_cli("compare", *runs, "--output", tmp_path / "compare.html")
    assert result.exit_code == 0, result.output
    lines = {tuple(line.split()) for line in result.stdout.splitlines()}
    assert ("one", "[two]") in lines
    assert ("model.hidden_size", "128", "256") in lines
    assert ("Accuracy", "88.34%", "90.00%", "*") in lines
    assert f"Page: {tmp_path / 'compare.html'}" in result.stdout
    assert "2 runs compared" in (tmp_path / "compare.html").read_text(encoding="utf-8")


def test_runs_of_different_test_rows_are_said_to_be_so(run_cli: RunCli, runs: list[Path]) -> None:
    path = runs[1] / "metrics.json"
    path.write_text(path.read_text().replace('"rows": 25000', '"rows": 10'))
    result = run_cli("compare", *runs)
    assert result.exit_code == 0
    assert "The runs were measured on different test rows." in result.stdout
    assert "90.00% *" not in result.stdout


def test_what_is_no_run(run_cli: RunCli, runs: list[Path], tmp_path: Path) -> None:
    result = run_cli("compare", runs[0], tmp_path)
    assert result.exit_code == 2
    assert "RUN must be the folder of a run, with config.json and metrics.json" in result.output
    result = run_cli("compare", runs[0])
    assert result.exit_code == 2
    assert "RUN must be given 2 to 26 times, got: 1" in result.output
