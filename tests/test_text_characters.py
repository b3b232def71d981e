"""Words by character, for scripts without spaces: the kernel, its plain Python twin, and what uses them."""

import copy
import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnfast import _text
from rnnfast.evaluation.attribution import find_words, word_effects
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import build_model
from rnnfast.reports.wording import effects, marked
from rnnfast.scoring.scorers import Scorer, save_run
from rnnfast.text import reference
from rnnfast.text.vocabulary import Vocabulary, standardize, unspaced_share, vectorize
from rnnfast.text.word_counts import WordCounts
from rnnfast.training.settings import TrainingSettings

# Characters with and without spaces between words, marks, signs, and what is removed or parts words.
PIECES = [
    *("\u4f60", "\u597d", "\u3042", "\u30ab\u30fc", "\uff76\uff9e", "\u304b\u3099", "\U00020000"),
    *("\u0e17\u0e35\u0e48", "\u0e44", "\u0e52", "\u0eb2", "\u1780\u17b6", "\u1019\u103c", "\u3105"),
    *("\ud55c\uad6d", "film", "A1", "abcdefgh", "\u00c9", "\u0301", "\u0646\u064e", "\u0928\u093f"),
    *(
        " ",
        "\u3002",
        "'",
        "\u200d",
        "\ufe0f",
        "\u2605",
        "\U0001f600",
        "<br>",
        "<",
        "\u3000",
        "2021",
    ),
]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u8fd9\u90e8\u7535\u5f71\u5f88\u597d\u770b\u3002", "\u8fd9 \u90e8 \u7535 \u5f71 \u5f88 \u597d \u770b"),
        ("iPhone15\u5f88\u597dOK", "iphone15 \u5f88 \u597d ok"),
        # Thai: a vowel or a tone above a letter goes with it; digits make a number.
        ("\u0e14\u0e35\u0e21\u0e32\u0e01 \u0e52\u0e55", "\u0e14\u0e35 \u0e21 \u0e32 \u0e01 \u0e52\u0e55"),
        ("\u304b\u3099\u304d", "\u304b\u3099 \u304d"),
        ("\uff76\uff9e", "\uff76\uff9e"),
        ("\u4f60\u200d\ufe0f\u0301\u597d", "\u4f60\u0301 \u597d"),
        # Hangul, Arabic and Devanagari have spaces between words.
        ("\ud55c\uad6d\uc5b4 \u0646\u0639\u0645 \u0928\u092e\u0938\u094d\u0924\u0947",
         "\ud55c\uad6d\uc5b4 \u0646\u0639\u0645 \u0928\u092e\u0938\u094d\u0924\u0947"),
        ("Don't miss it!", "dont miss it"),
        ("", ""),
    ],
)  # fmt: skip
def test_words_by_characters(text: str, words: str) -> None:
    assert standardize(text, "characters") == words


@given(st.lists(st.sampled_from(PIECES) | st.characters(), max_size=40).map("".join))
def test_characters_part_words_and_change_none(text: str) -> None:
    by_spaces, by_characters = standardize(text), standardize(text, "characters")
    assert by_spaces.replace(" ", "") == by_characters.replace(" ", "")
    assert standardize(by_characters, "characters") == by_characters
    for word in by_characters.split(" "):
        kinds = [_text.kind(ord(char)) for char in word]
        assert "character" not in kinds[1:]
        assert "character" not in kinds[:1] or set(kinds[1:]) <= {"mark"}


def random_texts(count: int) -> list[str]:
    rng = random.Random(count)

    def piece() -> str:
        if rng.random() < 0.7:
            return rng.choice(PIECES)
        return chr(rng.choice((rng.randrange(0x3200), rng.randrange(0x20000))))

    return ["".join(piece() for _ in range(rng.randrange(60))) for _ in range(count)]


@pytest.mark.parametrize("split_by", ["spaces", "characters"])
@pytest.mark.parametrize("length", [1, 7, 200])
def test_the_kernel_is_as_the_reference(length: int, split_by: reference.SplitBy) -> None:
    texts = random_texts(3000)
    counts = reference.count_words(texts, split_by)
    words = ["[UNK]", "pad", *sorted(counts.keys() - {"pad"})[::2]]
    ids, lengths = vectorize(texts, Vocabulary(words, split_by), length)
    expected, counted = reference.vectorize(texts, words, length, split_by=split_by)
    assert ids.tolist() == expected
    assert lengths.tolist() == counted
    found = WordCounts(500, split_by)
    found.add(texts)
    assert dict(found.most_frequent(len(counts) + 1)) == dict(counts)


@pytest.mark.parametrize("piece", PIECES)
def test_a_character_at_each_place_of_the_eight_bytes_that_are_read_together(piece: str) -> None:
    texts = [f"{'X' * a}\u4f60{piece}{'y' * b}\u597d" for a in range(9) for b in range(9)]
    words = ["[UNK]", "pad", *sorted(reference.count_words(texts, "characters"))]
    ids, _ = vectorize(texts, Vocabulary(words, "characters"), 8)
    expected, _ = reference.vectorize(texts, words, 8, split_by="characters")
    assert ids.tolist() == expected


def test_every_code_point_is_of_the_kind_that_its_block_says() -> None:
    kinds = {
        char: _text.kind(ord(char))
        for char in "a\u00e91\u4e2d\u3042\u30a2\u0e01\u0e81\u1780\u1000\uac00\u0301"
    }
    assert list(kinds.values()) == ["word"] * 3 + ["character"] * 7 + ["word", "mark"]
    with pytest.raises(IndexError, match="below 0x110000"):
        _text.kind(0x110000)


def test_a_vocabulary_knows_what_parts_its_words(tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(["\u597d\u770b", "\u597d film"], split_by="characters")
    assert vocabulary.words == ("[UNK]", "pad", "\u597d", "film", "\u770b")
    assert vectorize(["film\u770b"], vocabulary, 3)[0].tolist() == [[3, 4, 1]]
    vocabulary.save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt", "characters") == vocabulary
    assert Vocabulary.load(tmp_path / "v.txt") != vocabulary
    for other in (copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary))):
        assert other == vocabulary
        assert other.split_by == "characters"


@pytest.mark.parametrize("make", [lambda rule: Vocabulary(["[UNK]", "pad"], rule), lambda rule: WordCounts(9, rule),
                                  lambda rule: standardize("a", rule)])  # fmt: skip
def test_another_rule_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="split_by must be 'spaces' or 'characters', got: 'jieba'"):
        make("jieba")  # type: ignore[operator]


def test_the_share_of_letters_of_scripts_without_spaces() -> None:
    texts = pa.chunked_array([["\u4f60\u597d ab", None], ["12 !", "\u0e01\u0e02"]])
    assert unspaced_share(texts) == pytest.approx(4 / 6)
    assert unspaced_share(pa.array(["\ud55c\uad6d\uc5b4 film"])) == 0
    assert unspaced_share(pa.array(["", None], pa.string())) == 0


def a_scorer(folder: Path, split_by: reference.SplitBy, words: list[str]) -> Scorer:
    folder.mkdir()
    config = ModelConfig(
        embedding_size=8, hidden_size=8, sequence_length=20, split_by=split_by, embedding_scale=1
    )
    vocabulary = Vocabulary(["[UNK]", "pad", *words], split_by)
    model = build_model(config, len(vocabulary), seed=3)
    save_run(
        folder,
        model,
        vocabulary,
        config=config,
        training=TrainingSettings(),
        labels=("0", "1"),
        data={},
    )
    return Scorer.load(folder)


def test_a_scorer_splits_as_its_model_was_trained(tmp_path: Path) -> None:
    scorer = a_scorer(tmp_path / "a", "characters", ["\u597d", "\u770b"])
    assert scorer.vocabulary.split_by == "characters"
    assert scorer.score(["\u597d\u770b"]) == scorer.score(["\u597d \u770b"])
    by_spaces = a_scorer(tmp_path / "b", "spaces", ["\u597d", "\u770b"])
    assert by_spaces.score(["\u597d\u770b"]) == by_spaces.score(["unknown"])
    assert by_spaces.digest != scorer.digest


def test_a_model_from_before_has_its_digest(tmp_path: Path) -> None:
    scorer = a_scorer(tmp_path / "a", "spaces", ["good"])
    path = tmp_path / "a" / "config.json"
    path.write_text(path.read_text().replace('    "split_by": "spaces",\n', ""))
    assert "split_by" not in path.read_text()
    before = Scorer.load(tmp_path / "a")
    assert before.config == scorer.config
    assert before.digest == scorer.digest


def test_each_character_has_its_effect(tmp_path: Path) -> None:
    scorer = a_scorer(tmp_path / "a", "characters", ["\u597d", "\u770b", "film"])
    text = "\u597d\u770b, film!<br />\u770b\u0301"
    words = [match.group() for match in find_words(text, "characters")]
    assert words == ["\u597d", "\u770b", ",", "film!", "\u770b\u0301"]
    found = word_effects(text, scorer.log_odds, split_by="characters")
    whole, without = scorer.log_odds([text, text[1:]])
    assert found[0] == pytest.approx(whole - without)
    assert np.count_nonzero(found) >= 3
    example = {"text": text, "effects": found, "split_by": "characters"}
    assert [word for word, _ in effects(example)] == words
    assert ">\u597d</mark>" in marked(example)
    assert torch.is_tensor(vectorize([text], scorer.vocabulary, 4)[0])
