"""Texts to ids and the counting of words beside their peers, on one thread: `make bench-text`.

The texts are the 50,000 reviews of IMDB, from the archive in the folder that RNNFAST_MIRROR names, in Arrow's memory.
Two peers find rnnfast's words, which is checked before anything is timed; those marked with * do less: they only split
at white space, so that their words are others. Contenders run in turn, and the medians of CPU seconds are compared:
each has one thread, and other work on the machine leaves these as they are.
"""

import gc
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table

from rnnfast.text.vocabulary import Vocabulary, vectorize
from rnnfast.text.word_counts import WordCounts

LENGTH = 600  # tokens of a row, that of the flow: it cuts few reviews
ROWS = 1000  # that are turned into ids at a time

LINE_BREAK = r"<[bB][rR][ \t\r\n]*/?[ \t\r\n]*>"
REMOVED = "['`\u00b4\u02bc\u2018\u2019\uff07\ufe00-\ufe0f]|\\p{Cf}"
SIGN = r"(\p{So})"
BREAKS = r"[\p{P}\p{Sm}\p{Sc}\p{Sk}\p{Z}\p{Cc}]+"

Ids = Callable[[pa.Array], np.ndarray]
"""Texts (N) to ids (N, LENGTH)."""


class MismatchError(Exception):
    """A peer's result is not ours."""


def main(
    mirror: Annotated[
        Path, typer.Option(envvar="RNNFAST_MIRROR", help="folder with aclImdb_v1.tar.gz")
    ],
    rounds: Annotated[int, typer.Option(min=1, help="of each contender")] = 5,
    reviews: Annotated[int | None, typer.Option(min=1, help="measure so many, not all")] = None,
) -> None:
    """Texts to ids and the counting of words beside their peers, on one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read at the first use
    os.environ["RAYON_NUM_THREADS"] = "1"
    texts = read(mirror / "aclImdb_v1.tar.gz").slice(0, reviews)
    vocabulary = Vocabulary.build(texts)
    parts = [texts.slice(start, ROWS) for start in range(0, len(texts), ROWS)]
    ids: dict[str, Ids] = {
        "rnnfast": lambda texts: vectorize(texts, vocabulary, LENGTH)[0].numpy(),
        "pyarrow.compute": arrow_ids(vocabulary, same_words),
        "pyarrow.compute *": arrow_ids(vocabulary, split_lower),
        "tokenizers": tokenizers_ids(vocabulary, exact=True),
        "tokenizers *": tokenizers_ids(vocabulary, exact=False),
    }
    counting: dict[str, Callable[[], object]] = {
        "rnnfast, and sorting": lambda: rnnfast_counts(texts).most_frequent(20_000),
        "pyarrow.compute": lambda: pc.value_counts(same_words(texts).values),
        "pyarrow.compute *": lambda: pc.value_counts(split_lower(texts).values),
    }
    for name in ("pyarrow.compute", "tokenizers"):
        require_equal(f"ids of {name}", ids[name](parts[0]), ids["rnnfast"](parts[0]))
    theirs = pc.value_counts(same_words(texts).values).to_pylist()
    require_equal(
        "counts of pyarrow.compute",
        {count["values"]: count["counts"] for count in theirs},
        dict(rnnfast_counts(texts).most_frequent(len(theirs) + 1)),
    )

    def each_part(call: Ids) -> Callable[[], object]:
        return lambda: [call(part) for part in parts]

    console = Console()
    to_ids = interleaved({name: each_part(call) for name, call in ids.items()}, rounds)
    console.print(table(f"text to ids, {LENGTH} a row", to_ids, texts))
    console.print(table("counting words", interleaved(counting, rounds), texts))


def read(archive: Path) -> pa.Array:
    """The labelled reviews, by name."""
    review = re.compile(r"aclImdb/(train|test)/(neg|pos)/.+\.txt")
    with tarfile.open(archive) as members:
        texts = {
            member.name: members.extractfile(member).read()  # type: ignore[union-attr]
            for member in members
            if review.fullmatch(member.name)
        }
    return pa.array([texts[name] for name in sorted(texts)], pa.binary()).cast(pa.string())


def same_words(texts: pa.Array) -> pa.Array:
    """Lists of rnnfast's words, column by column."""
    for pattern, replacement in ((LINE_BREAK, " "), (REMOVED, ""), (SIGN, r" \1 "), (BREAKS, " ")):
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    return split_lower(pc.utf8_trim_whitespace(texts))


def split_lower(texts: pa.Array) -> pa.Array:
    """Lists of what white space parts, in lower case."""
    return pc.utf8_split_whitespace(pc.utf8_lower(texts))


def arrow_ids(vocabulary: Vocabulary, split: Callable[[pa.Array], pa.Array]) -> Ids:
    """Looks the words up with `index_in`."""
    # The word pad is unknown, and no word is empty.
    words = pa.array([vocabulary.UNKNOWN, "", *vocabulary.words[2:]])

    def call(texts: pa.Array) -> np.ndarray:
        lists = split(texts)
        found = pc.index_in(lists.values, words).fill_null(0).to_numpy()
        starts = lists.offsets.to_numpy()[:-1]
        lengths = np.minimum(np.diff(lists.offsets.to_numpy()), LENGTH)
        ids = np.ones((len(texts), LENGTH), np.int32)
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            ids[row, :length] = found[start : start + length]
        return ids

    return call


def tokenizers_ids(vocabulary: Vocabulary, exact: bool) -> Ids:
    """A WordLevel tokenizer of Hugging Face, padded and cut by itself; `exact`: with rnnfast's words."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    # The word pad is unknown: the padding has another name.
    words = [vocabulary.UNKNOWN, "[PAD]", *vocabulary.words[2:]]
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(numbers, vocabulary.UNKNOWN))
    if exact:
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.Replace(Regex(LINE_BREAK), " "),
                normalizers.Replace(Regex(REMOVED), ""),
                normalizers.Lowercase(),
            ]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(SIGN), "isolated"),
                pre_tokenizers.Split(Regex(BREAKS), "removed"),
            ]
        )
    else:
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_padding(pad_id=1, pad_token="[PAD]", length=LENGTH)
    tokenizer.enable_truncation(LENGTH)

    def call(texts: pa.Array) -> np.ndarray:
        return np.array(
            [row.ids for row in tokenizer.encode_batch_fast(texts.to_pylist())], np.int32
        )

    return call


def rnnfast_counts(texts: pa.Array) -> WordCounts:
    """All words."""
    counts = WordCounts()
    counts.add(texts)
    return counts


def require_equal(what: str, theirs: Any, ours: Any) -> None:
    """Raises MismatchError unless both are the same."""
    if isinstance(ours, np.ndarray):
        rows = int((ours != theirs).any(1).sum())
        if rows:
            raise MismatchError(
                f"{what} must be those of rnnfast, {rows} of {len(ours)} rows differ"
            )
    elif ours != theirs:
        differing = dict(ours.items() ^ theirs.items())
        raise MismatchError(f"{what} must be those of rnnfast, they differ for {differing!r:.300}")


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median of each call's CPU seconds; all have run before."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    for _ in range(rounds):
        for name, call in calls.items():
            start = process_time()
            call()
            times[name].append(process_time() - start)
    return {name: median(found) for name, found in times.items()}


def table(title: str, seconds: dict[str, float], texts: pa.Array) -> Table:
    """Speeds, and how many times as fast the first one, rnnfast, is."""
    table = Table("", "MB/s", "reviews/s", "rnnfast is", title=title)
    first = next(iter(seconds.values()))
    for name, one in seconds.items():
        speeds = f"{texts.nbytes / one / 1e6:.1f}", f"{len(texts) / one:,.0f}"
        table.add_row(name, *speeds, f"{one / first:.1f} x")
    return table


if __name__ == "__main__":
    typer.run(main)
