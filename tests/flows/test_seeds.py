"""Several trainings of one model that differ in their seed: their figures, and their mean as one model."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import Result

from rnnfast.models.ensembles import TextEnsemble, WindowEnsemble
from rnnfast.models.texts import RecurrentClassifier, WideAndDeep
from rnnfast.scoring.scorers import Scorer, SensorScorer
from rnnfast.scoring.streams import Stream
from rnnfast.text.vocabulary import vectorize
from tests.flows.test_sensors import TINY, write_csv

RunCli = Callable[..., Result]


@pytest.fixture
def reviews(tmp_path: Path) -> list[object]:
    """Options to train on reviews whose label is which of two words comes last, with some labels wrong."""
    draw = np.random.default_rng(0)
    lines = ["text,label"]
    for row in range(400):
        label, wrong = ("neg", "pos")[row % 2], draw.random() < 0.2
        words = ["film", "plot", f"w{row % 7}", "good" if (label == "pos") ^ wrong else "bad"]
        lines.append(f"{' '.join(draw.permutation(words))} n{row},{label}")
    (tmp_path / "reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["--dataset", tmp_path / "reviews.csv", "--no-gate"]


def trained(run_cli: RunCli, output: Path, *options: object) -> dict[str, dict[str, object]]:
    result = run_cli(*options, "--output", output)
    assert result.exit_code == 0, result.output
    assert ("over 2 seeds" in result.output) == ("--seeds" in options)
    found: dict[str, dict[str, object]] = json.loads((output / "metrics.json").read_text())
    return found


def test_the_figures_of_seeds_are_those_of_a_training_with_each(
    server: None, run_cli: RunCli, reviews: list[object], tiny: list[str], tmp_path: Path
) -> None:
    asked = ["reviews", *reviews, *tiny, "--cell", "rnn"]
    both = trained(run_cli, tmp_path / "both", *asked, "--seed", "3", "--seeds", "2")
    apart = [
        trained(run_cli, tmp_path / seed, *asked, "--seed", seed)["test"] for seed in ("3", "4")
    ]
    assert both["seeds"]["seeds"] == [3, 4]
    assert both["test"] == apart[0]
    log_losses = [each["log_loss"] for each in apart]
    assert log_losses[0] != log_losses[1]
    assert both["seeds"]["figures"]["log_loss"] == {  # type: ignore[index]
        "mean": pytest.approx(fmean(log_losses)),  # type: ignore[type-var]
        "spread": pytest.approx(stdev(log_losses)),  # type: ignore[type-var]
        "values": log_losses,
    }
    # One model is written as ever, whatever was trained beside it.
    files = [tmp_path / run / "config.json" for run in ("both", "3")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "members" not in files[0].read_text()
    assert "Figures on test over the seeds" in (tmp_path / "both" / "report.html").read_text()


def test_an_ensemble_gives_the_mean_of_its_members(
    server: None, run_cli: RunCli, reviews: list[object], tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    asked = ["reviews", *reviews, *tiny, "--cell", "rnn", "--seeds", "2", "--ensemble"]
    metrics = trained(run_cli, run, *asked)
    assert metrics["seeds"]["ensemble"] is True
    scorer = Scorer.load(run)
    assert isinstance(scorer.model, WideAndDeep)
    assert isinstance(scorer.model.deep, TextEnsemble)
    texts = ["good film", "bad plot w3", "neither"]
    ids = vectorize(texts, scorer.vocabulary, scorer.config.sequence_length)
    with torch.inference_mode():
        first, second = (member(*ids) for member in scorer.model.deep.members)
        logits = scorer.model.weighed(scorer.model.wide(*ids), (first + second) / 2)
    assert not torch.allclose(first, second)
    # By way of the tables that scoring makes of the members.
    np.testing.assert_allclose(scorer.score(texts), torch.sigmoid(logits), atol=1e-6)
    scored = run_cli("score", "--model", run, "--input", reviews[1], "--output", tmp_path / "out")
    assert scored.exit_code == 0, scored.output
    [file] = (tmp_path / "out").glob("**/*.parquet")
    assert pq.read_table(file).num_rows == 400


def test_an_ensemble_of_another_network_has_no_ngrams(
    server: None, run_cli: RunCli, reviews: list[object], tiny: list[str], tmp_path: Path
) -> None:
    trained(run_cli, tmp_path / "run", "reviews", *reviews, *tiny, "--cell", "rnn", "--set",
            "wide=false", "--seeds", "2", "--ensemble")  # fmt: skip
    model = Scorer.load(tmp_path / "run").model
    assert isinstance(model, TextEnsemble)
    assert all(isinstance(member, RecurrentClassifier) for member in model.members)


@pytest.mark.parametrize("label", [None, "state"])
def test_an_ensemble_of_windows_gives_the_mean_of_its_members(
    server: None, run_cli: RunCli, tmp_path: Path, label: str | None
) -> None:
    table, run = write_csv(tmp_path / "readings.csv", devices=4 if label else 2), tmp_path / "run"
    of_label = ["--label-column", label, "--epochs", "1", "--set", "lookback=12"] if label else TINY
    options = ["--dataset", table, "--group-column", "device", *of_label, "--cell", "gru"]
    metrics = trained(run_cli, run, "sensors", *options, "--no-gate", "--seeds", "2", "--ensemble")
    assert len(metrics["seeds"]["seeds"]) == 2  # type: ignore[arg-type]
    scorer = SensorScorer.load(run)
    model = scorer.model
    assert isinstance(model, WindowEnsemble)
    with pytest.raises(ValueError, match="recurrent model, no ensemble, with segment 1 only"):
        Stream(scorer)
    windows = torch.randn(3, model.config.lookback, model.channels)
    with torch.inference_mode():
        first, second = (member(windows) for member in model.members)
        torch.testing.assert_close(model(windows), (first + second) / 2)
    assert not torch.allclose(first, second)
    if not label:
        # The intervals are its own: members' margins are of members' errors.
        assert model.margins.any()
        assert not any(torch.equal(model.margins, each.margins) for each in model.members)
    scored = run_cli("score", "--model", run, "--input", table, "--output", tmp_path / "out")
    assert scored.exit_code == 0, scored.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cell", "ngrams", "--seeds", "2"], "--seeds must be 1 for --cell ngrams"),
        (["--ensemble"], "--seeds must be 2 or more with --ensemble, which averages so many"),
        (["--seeds", "0"], "--seeds must be greater than or equal to 1"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(
    run_cli: RunCli, reviews: list[object], tmp_path: Path, options: list[str], message: str
) -> None:
    result = run_cli("reviews", *reviews, *options, "--output", tmp_path / "run", "--dry-run")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()
