import numpy as np
import pyarrow.compute as pc
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from flows.datasets import DATASETS, sample
from flows.datasets.base import SCHEMA, Splits


@pytest.fixture(scope="module")
def splits() -> Splits:
    return sample.read()


def test_same_rows_every_time(splits: Splits) -> None:
    again = sample.read()
    assert again.train.equals(splits.train)
    assert again.test.equals(splits.test)
    # The first row as it was when the data set was made: other machines must get it too.
    first = splits.train.slice(0, 1).to_pylist()[0]
    assert first["id"] == "sample-00000"
    assert splits.train.schema == SCHEMA


def test_no_text_and_no_movie_is_on_both_sides(splits: Splits) -> None:
    for column in ("id", "text", "group"):
        train, test = (set(t[column].to_pylist()) for t in (splits.train, splits.test))
        assert not train & test
    assert len(pc.unique(splits.train["text"])) == splits.train.num_rows


def test_says_that_it_is_generated() -> None:
    assert "generated" in DATASETS["sample"].about
    assert "generated" in (sample.__doc__ or "")


@pytest.mark.parametrize(("longest", "at_most"), [(1, 0.60), (2, 0.75)])
def test_words_and_pairs_without_order_do_not_solve_it(
    splits: Splits, longest: int, at_most: float
) -> None:
    train, test = splits.train.slice(0, 4000), splits.test
    counter = CountVectorizer(ngram_range=(1, longest), min_df=2)
    model = LogisticRegression(max_iter=300, C=0.3)
    model.fit(counter.fit_transform(train["text"].to_pylist()), train["label"].to_numpy())
    right = model.predict(counter.transform(test["text"].to_pylist())) == test["label"].to_numpy()
    assert np.mean(right) < at_most


def test_a_reader_of_the_rule_is_always_right(splits: Splits) -> None:
    good, bad = sample._WORDS[1], sample._WORDS[0]

    def sentiment(clause: str) -> int:
        praise = any(word in clause.split() for word in good)
        assert praise != any(word in clause.split() for word in bad)
        negated = any(word in clause for word in (" not ", "never", "hardly", "nowhere"))
        return int(praise != negated)

    for row in splits.test.to_pylist():
        text = row["text"].replace("<br /><br />", " ").lower()
        for opening in sample._OPENINGS:
            text = text.replace(opening.lower(), "")
        text = text.strip(" .!")
        if ", but " in text:
            verdict = text.split(", but ")[1]
        elif text.startswith("although "):
            verdict = text.split(", ")[1]
        else:
            verdict = text.split(", although ")[0]
        assert sentiment(verdict) == row["label"], row
