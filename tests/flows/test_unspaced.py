"""Reviews in scripts without spaces between words, from a file to scores."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from rnnfast.scoring.scorers import Scorer

RunCli = Callable[..., Result]
GOOD, BAD, OTHER = (
    "\u597d\u68d2\u7f8e\u559c",
    "\u574f\u5dee\u70c2\u4e11",
    "\u8fd9\u90e8\u7535\u5f71\u7684\u662f\u4e86\u6211",
)


def write(path: Path, rows: int = 400) -> Path:
    """Reviews of characters in a row, in which those of one label are more frequent."""
    draw = random.Random(0)
    lines = []
    for i in range(rows):
        letters = draw.choices((GOOD, BAD)[i % 2], k=4) + draw.choices(OTHER, k=8)
        draw.shuffle(letters)
        lines.append(f"{''.join(letters)},{('pos', 'neg')[i % 2]}\n")
    path.write_text("text,label\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def options(tmp_path: Path) -> list[object]:
    small = ("embedding_size=8", "hidden_size=8", "sequence_length=16", "max_tokens=60")
    sets = [word for setting in small for word in ("--set", setting)]
    return ["--dataset", write(tmp_path / "zh.csv"), "--epochs", "6", "--learning-rate", "0.02", *sets,
            "--output", tmp_path / "run"]  # fmt: skip


def test_characters_are_words_where_the_texts_ask_for_it(
    server: None, run_cli: RunCli, options: list[object], tmp_path: Path
) -> None:
    result = run_cli("reviews", *options, "--yardstick")
    assert result.exit_code == 0, result.output
    assert "characters are of scripts without spaces between words" in " ".join(
        result.stderr.split()
    )
    run = tmp_path / "run"
    assert json.loads((run / "config.json").read_text())["model"]["split_by"] == "characters"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.9
    assert metrics["baseline"]["ngrams"]["accuracy"] > 0.9
    assert set(Scorer.load(run).vocabulary.words[2:]) == {*GOOD, *BAD, *OTHER}
    example = metrics["examples"]["right"][0]
    assert len(example["effects"]) == 12
    scored = run_cli(
        "score", "--model", run, "--input", tmp_path / "zh.csv", "--output", tmp_path / "out"
    )
    assert scored.exit_code == 0, scored.output
    [path] = (tmp_path / "out").glob("*.parquet")
    labels = pq.read_table(path)["label"].to_pylist()
    assert sum(labels[i] == ("pos", "neg")[i % 2] for i in range(400)) > 360


@pytest.mark.parametrize("how", [["--split-by", "spaces"], ["--set", "split_by=spaces"]])
def test_words_by_spaces_end_in_a_message_that_says_what_is_wrong(
    server: None, run_cli: RunCli, options: list[object], tmp_path: Path, how: list[str]
) -> None:
    result = run_cli("reviews", *options, *how)
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "unknown of validation rows is 1 " in said
    assert "a script without spaces between words, such as Chinese, Japanese or Thai" in said
    assert "--split-by characters" in said
    assert not (tmp_path / "run").exists()


def test_texts_with_spaces_are_split_at_them(
    server: None, run_cli: RunCli, tiny: list[str], reviews_csv: Path, tmp_path: Path
) -> None:
    for name, how, expected in (
        ("a", [], "spaces"),
        ("b", ["--split-by", "characters"], "characters"),
    ):
        run = tmp_path / name
        result = run_cli("reviews", "--dataset", reviews_csv, *tiny, *how, "--output", run)
        assert result.exit_code == 0, result.output
        assert json.loads((run / "config.json").read_text())["model"]["split_by"] == expected
    refused = run_cli(
        "reviews", "--dataset", reviews_csv, "--split-by", "jieba", "--output", tmp_path / "c"
    )
    assert refused.exit_code == 2
    assert "--split-by: 'jieba' is not one of 'auto', 'spaces', 'characters'" in refused.stderr
