"""A sample of made-up reviews, in which the order of the words decides.

Everything here is generated from a fixed seed: no person wrote these reviews, and no figure that is
measured on them says anything about real ones. They show in seconds what a recurrent model is for.
Each clause praises or blames an aspect of a movie, by a good or bad word that may be negated a few
words before ("never once felt remotely clever"). In most reviews there is a second clause of the
other sentiment, and the order says which of the two counts: the one after "but", or the one without
"although". The words alone say little; who reads them in order can be right every time.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from flows.datasets.base import SCHEMA, Dataset, Splits

LABELS = ("negative", "positive")
TRAIN_ROWS, TEST_ROWS = 12_000, 2_000
REVIEWS_PER_MOVIE = 20

_ASPECTS = (
    "acting", "plot", "script", "music", "camera work", "dialogue", "ending", "pacing", "cast",
    "humour", "opening", "story", "editing", "lead", "villain", "soundtrack",
)  # fmt: skip
_WORDS = (
    ("dull", "clumsy", "boring", "weak", "lifeless", "silly", "tiresome", "hollow", "awful", "bad"),
    ("good", "clever", "brilliant", "moving", "superb", "funny", "gripping", "fresh", "great",
     "charming"),
)  # fmt: skip
_VERBS = ("was", "seemed", "felt", "looked", "turned out")
_NEGATIONS = ("was not", "was never", "hardly seemed", "never felt", "did not look", "was nowhere")
_DEGREES = (
    "really", "all that", "truly", "even remotely", "in any way", "quite", "as far as i can tell",
    "to my mind", "at any point", "for one minute",
)  # fmt: skip
_OPENINGS = (
    "I saw it on a Sunday.", "We went as a family.", "Seen at a festival.",
    "My brother lent me the disc.", "I had read the book.", "Two hours long.",
    "It was shown late at night.", "A friend picked this one.", "The theatre was nearly empty.",
)  # fmt: skip


def _clause(rng: random.Random, aspect: str, sentiment: int) -> str:
    negated = rng.random() < 0.35
    word = rng.choice(_WORDS[sentiment ^ negated])
    verb = rng.choice(_NEGATIONS if negated else _VERBS)
    degrees = rng.sample(_DEGREES, rng.choice((0, 0, 1, 2)))
    return " ".join(["the", aspect, verb, *degrees, word])


def _review(rng: random.Random, label: int) -> str:
    counts, other = rng.sample(_ASPECTS, 2)
    verdict = _clause(rng, counts, label)
    rest = _clause(rng, other, 1 - label)
    form = rng.random()
    if form < 0.3:
        judgement = verdict
    elif form < 0.65:
        judgement = f"{rest}, but {verdict}"
    elif form < 0.825:
        judgement = f"although {rest}, {verdict}"
    else:
        judgement = f"{verdict}, although {rest}"
    sentences = [judgement[0].upper() + judgement[1:] + rng.choice(".!")]
    if rng.random() < 0.7:
        sentences.insert(rng.randrange(2), rng.choice(_OPENINGS))
    return rng.choice((" ", " ", "<br /><br />")).join(sentences)


def _rows(seed: int) -> Iterator[tuple[str, str, int, str]]:
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < TRAIN_ROWS + TEST_ROWS:
        label = rng.randrange(2)
        text = _review(rng, label)
        if text not in seen:
            number = len(seen)
            seen.add(text)
            yield f"sample-{number:05}", text, label, f"movie-{number // REVIEWS_PER_MOVIE:03}"


def read(archive: Path | None = None) -> Splits:
    """Generates the sample: the same rows on every machine, no text twice."""
    ids, texts, labels, movies = zip(*_rows(seed=20_260_101), strict=True)
    table = pa.table(
        [pa.array(ids), pa.array(texts), pa.array(labels, pa.int8()), pa.array(movies)],
        schema=SCHEMA,
    )
    return Splits(table.slice(0, TRAIN_ROWS), table.slice(TRAIN_ROWS), LABELS)


DATASET = Dataset(
    name="sample",
    about="14,000 generated reviews in which the order of the words decides; not real data",
    archive=None,
    read=read,
    # No word is there by chance: without the negation nobody could tell.
    model={"word_dropout": 0.0, "hidden_size": 128},
)
