"""Whether n-grams read how often a text has a word: the validation rows say so, unless somebody else does."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import Result

from rnnfast.models.texts import WideAndDeep
from rnnfast.scoring.scorers import Scorer

RunCli = Callable[..., Result]


@pytest.fixture
def by_counts(tmp_path: Path) -> Path:
    """Each text has both words; its label is the one that is there more often."""
    return _written(tmp_path / "counts.csv", lambda own, other: [own] * 4 + [other])


@pytest.fixture
def by_presence(tmp_path: Path) -> Path:
    """The label is the only one of the words that a text has."""
    return _written(tmp_path / "presence.csv", lambda own, other: [own])


def _written(path: Path, words_of: Callable[[str, str], list[str]]) -> Path:
    draw = np.random.default_rng(0)
    lines = ["text,label"]
    for row in range(500):
        own, other = draw.permutation(["alpha", "omega"])
        # Between two words is one that is not in the vocabulary, so that no pair says that a word is there twice.
        words = [*words_of(own, other), *(f"w{each}" for each in draw.integers(0, 9, 4))]
        mixed = [f"{word} n{row}x{place}" for place, word in enumerate(draw.permutation(words))]
        lines.append(f"{' '.join(mixed)},{own}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(run_cli: RunCli, output: Path, source: Path, *options: object) -> Scorer:
    asked = ["reviews", "--dataset", source, "--no-gate", *options, "--set", "max_tokens=13"]
    result = run_cli(*asked, "--output", output)
    assert result.exit_code == 0, result.output
    return Scorer.load(output)


def accuracy(run: Path) -> float:
    return float(json.loads((run / "metrics.json").read_text())["test"]["accuracy"])


def test_counts_are_read_where_the_validation_rows_say_so(
    server: None, run_cli: RunCli, by_counts: Path, by_presence: Path, tmp_path: Path
) -> None:
    runs = [tmp_path / name for name in ("counts", "asked", "presence")]
    cell = ["--cell", "ngrams"]
    assert train(run_cli, runs[0], by_counts, *cell).config.ngram_counts
    not_asked = train(run_cli, runs[1], by_counts, *cell, "--set", "ngram_counts=false")
    assert not not_asked.config.ngram_counts
    assert not train(run_cli, runs[2], by_presence, *cell).config.ngram_counts
    assert accuracy(runs[0]) > 0.95
    assert accuracy(runs[1]) < 0.75
    assert accuracy(runs[2]) > 0.95


def test_n_grams_that_count_are_kept_alone_and_score_as_in_the_sum(
    server: None, run_cli: RunCli, by_counts: Path, tiny: list[str], tmp_path: Path
) -> None:
    """What is kept of a sum has the same rule, whatever else is in it."""
    whole = train(run_cli, tmp_path / "whole", by_counts, *tiny, "--cell", "rnn")
    assert whole.config.ngram_counts
    alone = train(run_cli, tmp_path / "auto", by_counts, *tiny)
    assert alone.config.ngram_counts
    assert isinstance(whole.model, WideAndDeep)
    wide = whole.model.wide if isinstance(alone.model, WideAndDeep) else alone.model
    for name, tensor in whole.model.wide.state_dict().items():
        found = wide.state_dict()[name]
        assert torch.equal(tensor, found)
    assert accuracy(tmp_path / "auto") > 0.95


def test_an_ensemble_counts_as_its_members_do(
    server: None, run_cli: RunCli, by_counts: Path, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    seeds = ("--cell", "rnn", "--seeds", "2", "--ensemble")
    scorer = train(run_cli, run, by_counts, *tiny, *seeds)
    assert scorer.config.ngram_counts
    assert scorer.config.members == 2
    assert accuracy(run) > 0.95
