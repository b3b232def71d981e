"""The pretrain job, and trainings of reviews that start from what it leaves."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import Result

from flows.datasets import imdb
from flows.orchestration.overview import overview
from flows.parameters import PretrainRequest, TextsData
from flows.steps.prepare.corpus import PADDED_IDS, _portions, encode_corpus, prepare_texts
from flows.steps.prepare.settings import LanguageSettings, language_settings
from rnnfast.text.vocabulary import Vocabulary

RunCli = Callable[..., Result]
SIZES = ["--set", "hidden_size=6", "--set", "embedding_size=5"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """300 texts, and rows that have none."""
    path = tmp_path / "texts.csv"
    lines = ["id,text", *(f'{i},"A {("good", "bad")[i % 2]} one, number {i}"' for i in range(300))]
    path.write_text("\n".join([*lines, "300,", "301,"]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def language(server: None, run_cli: RunCli, texts: Path, tmp_path: Path) -> Path:
    """The folder of a language model of these."""
    output = tmp_path / "runs" / "language"
    result = run_cli(
        "pretrain", "--texts", texts, "--output", output, *SIZES,
        "--set", "validation_share=0.2", "--set", "window=8", "--epochs", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Read 302 rows: used 300, left out 2" in result.output
    return output


def test_a_classifier_starts_from_a_language_model(
    run_cli: RunCli, language: Path, reviews_csv: Path, tmp_path: Path
) -> None:
    metrics = json.loads((language / "metrics.json").read_text())
    assert metrics["validation"]["perplexity"] > 1
    assert len(metrics["samples"]) == 5
    page = (language / "report.html").read_text(encoding="utf-8")
    assert "Perplexity" in page
    first_page = overview(tmp_path).decode()
    assert "language model" in first_page
    assert "perplexity " in first_page
    assert "carried" not in load_file(language / "model.safetensors")

    output = tmp_path / "run"
    asked = ["reviews", "--dataset", reviews_csv, "--init", language, "--no-gate"]
    options = ["--cell", "gru", "--epochs", 1, "--set", "wide=false", "--output", output]
    # At a rate of next to nothing the weights are those of the start.
    still = ["--learning-rate", "1e-12", "--set", "vector_learning_rate=1e-12"]
    result = run_cli(*asked, *options, *still)
    assert result.exit_code == 0, result.output
    assert (output / "vocabulary.txt").read_bytes() == (language / "vocabulary.txt").read_bytes()
    before, after = (
        load_file(language / "model.safetensors"),
        load_file(output / "model.safetensors"),
    )
    for name in before:
        if name.startswith("rnn."):
            torch.testing.assert_close(after[name], before[name])
    torch.testing.assert_close(after["embedding.weight"][2:], before["embedding.weight"][2:])

    data = json.loads((output / "config.json").read_text())["data"]
    assert data["init"] == str(language)
    assert len(data["init_sha256"]) == 64

    result = run_cli(*asked, "--cell", "lstm", "--output", tmp_path / "other")
    assert result.exit_code == 2
    assert "--cell must be gru with --init" in result.stderr
    result = run_cli(*asked, "--set", "hidden_size=7", "--output", tmp_path / "other")
    assert result.exit_code == 2
    assert "--set hidden_size must be 6 with --init" in result.stderr
    result = run_cli(
        "score", "--model", language, "--input", reviews_csv, "--output", tmp_path / "s"
    )
    assert result.exit_code == 2
    assert "--init" in result.stderr
    result = run_cli(*asked[:3], "--init", output, "--output", tmp_path / "other")
    assert result.exit_code == 2
    assert "--init" in result.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--texts", "nothing-*.csv"], "--texts"),
        (["--set", "hidden_size=0"], "hidden_size"),
        (["--cell", "mlp"], "'rnn', 'gru', 'lstm'"),
        (["--workers", "65", "--batch-size", "64"], "--workers"),
    ],
)
def test_bad_options_are_refused_before_anything_is_done(
    run_cli: RunCli, tmp_path: Path, options: list[str], message: str
) -> None:
    result = run_cli("pretrain", *options, "--output", tmp_path / "run", "--dry-run")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_texts_of_a_corpus_follow_one_another(tmp_path: Path, texts: Path) -> None:
    data = TextsData(texts=str(texts), validation_share=0.2)
    prepared = prepare_texts(data, None, tmp_path)
    assert prepared.split_by == "spaces"
    assert sum(prepared.rows.values()) == 302
    assert prepared.rows["rejected_rows"] == 2
    assert 30 < prepared.rows["validation_rows"] < 90
    words = Vocabulary(["[UNK]", "pad", "a", "good", "bad", "one", "number"])
    ids = []
    for part in ("train", "validation"):
        encode_corpus(tmp_path / f"{part}.parquet", words, tmp_path / part)
        ids += (
            torch.from_file(
                str(tmp_path / part / "ids.i32"),
                size=prepared.rows[f"{part}_rows"] * 6,
                dtype=torch.int32,
            )
            .view(-1, 6)
            .tolist()
        )
    assert sorted(ids) == sorted([[2, 3 + i % 2, 5, 6, 0, 1] for i in range(300)])


def test_long_texts_are_encoded_alone() -> None:
    import pyarrow as pa

    texts = pa.array(["a", "b" * PADDED_IDS, "c", "d"])
    assert [len(each) for each in _portions(texts)] == [1, 1, 2]


def test_the_test_texts_of_imdb_are_not_read(pack: Callable[..., Path], tmp_path: Path) -> None:
    members = [
        (f"aclImdb/{place}/0_9.txt", place.encode())
        for place in ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg")
    ]
    found = [
        text
        for batch in imdb.read_texts(pack(tmp_path / "a.tar.gz", members))
        for text in batch.to_pylist()
    ]
    assert sorted(found) == ["train/neg", "train/pos", "train/unsup"]


def test_a_preset_gives_what_was_not_asked_for(tmp_path: Path) -> None:
    def settled(**asked: object) -> LanguageSettings:
        request = PretrainRequest(output=tmp_path / "run", model={"preset": "best", **asked})
        return language_settings(request, "spaces", 17_000_000)

    best = settled()
    assert (best.model.hidden_size, best.training.epochs) == (512, 2)
    assert best.training.batch_size == 64  # by the number of words
    assert settled(hidden_size=64).model.hidden_size == 64
    usual = language_settings(PretrainRequest(output=tmp_path / "run"), "spaces", 17_000_000)
    assert usual.model.hidden_size == 128
    assert usual.training.epochs == 1
