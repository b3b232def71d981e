import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch

from rnnfast.labels import classes_of
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import PAIR, build_model
from rnnfast.scoring.scorers import SCORING_BATCH, Scorer, save_run
from rnnfast.text.vocabulary import Vocabulary, vectorize
from rnnfast.training.prediction import predict
from rnnfast.training.run_folder import RunFolderError
from rnnfast.training.settings import TrainingSettings

WORDS = Vocabulary(["[UNK]", "pad", "good", "bad", "not"])
TEXTS = ["Good!", "not good", "bad bad bad bad bad bad bad", "", "something else"]


def make_run(folder: Path, cell: str = "rnn", seed: int = 0, **changes: object) -> Path:
    config = ModelConfig.model_validate(
        {"cell": cell, "embedding_size": 4, "hidden_size": 8, "sequence_length": 6}
        | ({"max_pairs": 10} if cell == "ngrams" else {})
        | changes
    )
    folder.mkdir()
    save_run(
        folder,
        build_model(config, len(WORDS), seed),
        WORDS,
        config=config,
        training=TrainingSettings(),
        labels=("sad", "glad"),
        data={"dataset": "made up"},
    )
    return folder


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "mlp", "cnn", "ngrams"])
def test_scores_as_the_model_that_was_saved(tmp_path: Path, cell: str) -> None:
    scorer = Scorer.load(make_run(tmp_path / "run", cell))
    model = build_model(scorer.config, len(WORDS), 0)
    ids, lengths = vectorize(TEXTS, WORDS, 6)
    expected = predict(model, ids, lengths)
    scores = scorer.score(TEXTS)
    assert scores.dtype == np.float32
    # A recurrent model is folded for scoring, which rounds in another way.
    np.testing.assert_allclose(
        scores, expected, rtol=0 if cell in ("mlp", "cnn", "ngrams") else 1e-6
    )
    assert scorer.labels == ("sad", "glad")
    assert not scorer.model.training


def test_a_run_from_before_word_weights_scores_as_it_did(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    expected = Scorer.load(run).score(TEXTS)
    config = json.loads((run / "config.json").read_text())
    del config["model"]["word_weights"], config["model"]["distinct_words"]
    (run / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(Scorer.load(run).score(TEXTS), expected)


def test_a_run_from_before_counts_scores_as_it_did_and_keeps_its_digest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "ngrams")
    assert "ngram_counts" not in (run / "config.json").read_text()
    before = Scorer.load(run)
    assert not before.config.ngram_counts
    config = json.loads((run / "config.json").read_text())
    config["model"]["ngram_counts"] = False
    (run / "config.json").write_text(json.dumps(config))
    assert Scorer.load(run).digest == before.digest
    config["model"]["ngram_counts"] = True
    (run / "config.json").write_text(json.dumps(config))
    assert Scorer.load(run).digest != before.digest


@pytest.mark.parametrize("cell", ["ngrams", "rnn"])
def test_counts_are_saved_and_scored_as_the_model_does(tmp_path: Path, cell: str) -> None:
    run = make_run(tmp_path / "run", cell, wide=cell == "rnn", ngram_counts=True, max_pairs=10)
    weights = safetensors.torch.load_file(run / "model.safetensors")
    prefix = "wide." if cell == "rnn" else ""
    size = len(WORDS) + 10
    weights |= {
        f"{prefix}scale": torch.linspace(1, 2, size),
        f"{prefix}weight": torch.arange(size) / 9,
    }
    weights[f"{prefix}pairs"][0] = WORDS["bad"] * len(WORDS) + WORDS["bad"]
    safetensors.torch.save_file(weights, run / "model.safetensors")
    scorer = Scorer.load(run)
    assert scorer.config.ngram_counts
    with torch.inference_mode():
        expected = scorer.model(*vectorize(TEXTS, WORDS, 6)).sigmoid().numpy()
    np.testing.assert_allclose(scorer.score(TEXTS), expected, rtol=1e-6)
    # "bad" five times says something else than once, and the log-odds are those of the scores.
    once, often = scorer.score(["bad good", "bad bad bad good"])
    assert abs(once - often) > 1e-3
    odds = scorer.log_odds(["bad good", "bad bad bad good"])
    assert 1 / (1 + np.exp(-odds)) == pytest.approx([once, often], rel=1e-5)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("changes", [{"num_layers": 2}, {"read_padding": True}])
def test_what_cannot_be_folded_scores_as_the_model_itself(
    changes: dict[str, object], wide: bool
) -> None:
    sizes = {"hidden_size": 8, "sequence_length": 6, "max_pairs": 9, "wide": wide}
    config = ModelConfig.model_validate(sizes | changes)
    model = build_model(config, len(WORDS)).eval()
    expected = predict(model, *vectorize(TEXTS, WORDS, 6))
    scores = Scorer(model, WORDS, config, classes_of(("sad", "glad")), "").score(TEXTS)
    np.testing.assert_array_equal(scores, expected)


def test_a_text_has_the_same_score_bit_for_bit_in_any_company(tmp_path: Path) -> None:
    scorer = Scorer.load(make_run(tmp_path / "run", "gru"))
    scores = scorer.score(TEXTS * 9)
    np.testing.assert_array_equal(scores.reshape(9, -1), np.tile(scorer.score(TEXTS), (9, 1)))
    for text, score in zip(TEXTS, scores, strict=False):
        assert scorer.score([text]) == score


def test_scores_arrow_strings_and_many(tmp_path: Path) -> None:
    scorer = Scorer.load(make_run(tmp_path / "run"))
    expected = scorer.score(TEXTS)
    np.testing.assert_array_equal(scorer.score(pa.array(TEXTS)), expected)
    chunked = pa.chunked_array([TEXTS[:2], TEXTS[2:]])
    np.testing.assert_array_equal(scorer.score(chunked), expected)
    many = scorer.score(TEXTS * (SCORING_BATCH // len(TEXTS) + 1))
    np.testing.assert_allclose(many.reshape(-1, len(TEXTS)) - expected, 0, atol=1e-6)
    assert scorer.score([]).shape == (0,)


def test_equal_runs_have_equal_files_and_digests(tmp_path: Path) -> None:
    one, two, other = (make_run(tmp_path / name, seed=i // 2) for i, name in enumerate("abc"))
    for name in ("model.safetensors", "config.json", "vocabulary.txt"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert Scorer.load(one).digest == Scorer.load(two).digest != Scorer.load(other).digest


def test_digest_knows_all_that_decides_and_no_more(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    digest = Scorer.load(run).digest
    config = json.loads((run / "config.json").read_text())
    config["versions"]["torch"] = "another"
    (run / "config.json").write_text(json.dumps(config))
    assert Scorer.load(run).digest == digest
    config["labels"] = ["sad", "happy"]
    (run / "config.json").write_text(json.dumps(config))
    assert Scorer.load(run).digest != digest
    words = (run / "vocabulary.txt").read_text()
    (run / "config.json").write_text(json.dumps(config | {"labels": ["sad", "glad"]}))
    (run / "vocabulary.txt").write_text(words.replace("bad", "worse"))
    assert Scorer.load(run).digest != digest


def test_config_tells_how_the_model_came_to_be(tmp_path: Path) -> None:
    config = json.loads((make_run(tmp_path / "run") / "config.json").read_text())
    known = {"format", "kind", "scoring", "model", "training", "data", "labels", "versions"}
    assert set(config) == known
    assert config["model"]["hidden_size"] == 8
    assert config["training"]["seed"] == 0
    assert config["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.txt"])
def test_a_file_is_missing(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    with pytest.raises(RunFolderError, match=f"must be the folder of a run.*it has no {name}"):
        Scorer.load(run)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.txt"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1, 2]"])
def test_a_file_is_broken(tmp_path: Path, name: str, content: bytes) -> None:
    run = make_run(tmp_path / "run")
    (run / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=re.escape(str(run / name))):
        Scorer.load(run)


def test_weights_that_are_cut_off(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RunFolderError, match=r"model\.safetensors must hold the weights"):
        Scorer.load(path.parent)


def test_weights_of_another_model(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    safetensors.torch.save_file({"weight": torch.zeros(3)}, run / "model.safetensors")
    with pytest.raises(RunFolderError, match=r"model\.safetensors must hold the weights"):
        Scorer.load(run)


def test_a_vocabulary_of_another_model(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    Vocabulary([*WORDS.words, "more"]).save(run / "vocabulary.txt")
    with pytest.raises(RunFolderError, match=r"model\.safetensors must hold the weights"):
        Scorer.load(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, r"format: .*got: 99"),
        ({"labels": ["only one"]}, "labels must be two names or more, got"),
        ({"labels": None}, "labels: .*got: None"),
        ({"model": {"cell": "transformer"}}, r"model\.cell: .*got: 'transformer'"),
        ({"model": {"surprise": 1}}, r"model\.surprise: "),
        ({"model": {"hidden_size": 0}}, r"model\.hidden_size: .*got: 0"),
    ],
)
def test_a_config_that_cannot_be_used(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = make_run(tmp_path / "run") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunFolderError, match=message):
        Scorer.load(path.parent)


def test_a_config_without_a_model(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run") / "config.json"
    path.write_text('{"format": 1, "data": {}, "labels": ["a", "b"]}')
    with pytest.raises(RunFolderError, match="model: Field required"):
        Scorer.load(path.parent)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    torch.save(build_model(Scorer.load(run).config, len(WORDS)), run / "model.safetensors")
    with pytest.raises(RunFolderError, match=r"model\.safetensors must hold the weights"):
        Scorer.load(run)


def test_weights_that_change_after_the_first_scores_are_an_error() -> None:
    config, vocabulary = ModelConfig(hidden_size=4), Vocabulary.build(["good", "bad"], max_tokens=4)
    scorer = Scorer(build_model(config, len(vocabulary)).eval(), vocabulary, config, PAIR, "")
    scorer.score(["good"])
    with torch.no_grad():
        scorer.model.get_parameter("rnn.weight_hh_l0").mul_(2)
    with pytest.raises(RuntimeError, match=r"rnn.weight_hh_l0 must stay .* load the scorer again"):
        scorer.score(["good"])
