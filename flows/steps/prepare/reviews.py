"""Turns a data set into the parts of a job: train, validation and test, a Parquet file each.

Files of one's own go by twice, a batch at a time: first their labels and groups, by which the parts are drawn, then the
rows, each into its part. Of a row nothing is held but 8 bytes, at first for the draw, then for the texts that are in
two parts. Data sets that have a name are small, and split in memory.
"""

import logging
import shutil
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.datasets import DATASETS
from flows.datasets.base import (
    Dataset,
    Splits,
    open_reviews,
    read_labels,
    reviews_writer,
    write_reviews,
)
from flows.datasets.labelled import LabelledFiles, Unlabelled
from flows.datasets.labels import near
from flows.errors import InputError
from flows.parameters import ReviewsData
from flows.progress import rows_bar
from flows.steps.prepare.download import sha256
from flows.steps.prepare.draw import TEST, TRAIN, Draw, RowNumbers, sides
from flows.steps.prepare.duplicates import in_both, text_digests
from flows.steps.prepare.label_kinds import LabelSurvey, find_task
from flows.steps.prepare.split import split, too_few
from flows.unfinished import at_end
from flows.wording import counted
from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import Tags
from rnnfast.labels.target import Target, classes_of
from rnnfast.models.choices import LabelTask
from rnnfast.models.presets import UNSPACED_SHARE, TextFacts
from rnnfast.text.vocabulary import unspaced_share

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
DUPLICATES = "duplicates.npy"
PART_BATCH = 8192  # rows
LOOKED_AT = 10_000  # rows of the training part, for their scripts and lengths


@dataclass(frozen=True)
class PreparedReviews:
    """What is known of the rows of a job, beside the files of its parts.

    Attributes:
        facts: what the training rows are like.
        target: what their labels are.
        source: where the rows come from, for the record.
        rows: how many there are, of each part and kind.
    """

    facts: TextFacts
    target: Target
    source: Mapping[str, Any]
    rows: Mapping[str, int]


class SourceRows(NamedTuple):
    """What there is to write.

    Attributes:
        target: what the labels are.
        rows: how many there are in all parts.
        by_group: whether the parts were drawn by group.
        batches: rows of `schema_of` the target in the order of each part, and the number of the part in PARTS.
        unlabelled: rows that were left out since they have no label.
        has_own_tests: whether the test rows were given, and not drawn.
    """

    target: Target
    rows: int
    by_group: bool
    batches: Iterator[tuple[int, pa.Table]]
    unlabelled: int = 0
    has_own_tests: bool = False


def prepare(data: ReviewsData, archive: Path | None, cache: Path, work: Path) -> PreparedReviews:
    """Writes the parts, and `duplicates.npy`: of each test row (N,) bool whether its text is in another part as well.

    Args:
        data: what to read.
        archive: of a data set that has one, downloaded.
        cache: tables read from an archive are kept here, by the archive's content.
        work: the folder to write into.

    Returns:
        What is known of the rows.

    Raises:
        InputError: the data cannot be used.
    """
    digest = sha256(archive) if archive else None
    source = _named(data, archive, digest, cache) if data.is_named else _of_files(data)
    counts, duplicates, target = _write(source, work)
    np.save(work / DUPLICATES, duplicates)
    about = {
        **data.model_dump(exclude={"mirror"}, exclude_none=True),
        "about": DATASETS[data.dataset].about if data.is_named else "files of the user",
        "sha256": digest,
        "validation_drawn_by": "group" if source.by_group else "row",
    }
    rows = {
        **{f"{name}_rows": int(n) for name, n in zip(PARTS, counts, strict=True)},
        "unlabelled_rows": source.unlabelled,
        "duplicates_in_train_and_test": int(duplicates.sum()),
    }
    return PreparedReviews(_facts(work / "train.parquet", target), target, about, rows)


def _facts(path: Path, target: Target) -> TextFacts:
    outputs = target.outputs
    with open_reviews(path) as file:
        first = next(file.iter_batches(LOOKED_AT, columns=["text"]), None)
        rows = file.metadata.num_rows
    if first is None:
        return TextFacts(rows, 0.0, 0, outputs)
    unspaced = unspaced_share(first["text"])
    if unspaced >= UNSPACED_SHARE:
        lengths = pc.utf8_length(first["text"])
    else:
        lengths = pc.list_value_length(pc.utf8_split_whitespace(first["text"]))
    return TextFacts(rows, unspaced, round(pc.quantile(lengths, 0.99)[0].as_py()), outputs)


def _write(source: SourceRows, work: Path) -> tuple[np.ndarray, np.ndarray, Target]:
    """Writes the parts.

    Returns their numbers of rows (3,), which test rows have a text of another part, and what the labels are, with what
    the training rows say of them.
    """
    target, truths = source.target, list[np.ndarray]()
    names = target.names if isinstance(target, Classes | Tags) else ("",)
    held = np.zeros((len(PARTS), len(names)), int)  # by part and name
    counts = np.zeros(len(PARTS), int)
    rest, test = array("Q"), array("Q")  # digests of texts
    with ExitStack() as stack:
        advance = stack.enter_context(rows_bar("preparing reviews", source.rows))
        writers = [
            stack.enter_context(reviews_writer(work / f"{part}.parquet", target)) for part in PARTS
        ]
        for part, table in source.batches:
            writers[part](table)
            truth = target.truth(table["label"])
            counts[part] += len(table)
            held[part] += names_held(target, truth)
            if part == TRAIN and isinstance(target, Numbers):
                truths.append(truth)
            (test if part == TEST else rest).frombytes(text_digests(table["text"]).tobytes())
            advance(len(table), len(table))
        if counts.sum() != source.rows:
            raise InputError(
                f"--dataset must stay as it is while it is read, it had {source.rows} rows "
                f"and then {counts.sum()}"
            )
        require_in_parts(names, held, source.has_own_tests)
    duplicates = in_both(np.array(rest, copy=False), np.array(test, copy=False))
    return counts, duplicates, target.known(np.concatenate(truths)) if truths else target


def names_held(target: Target, truth: np.ndarray) -> np.ndarray:
    """How many rows of such truth have each class or tag (K,); of numbers how many there are (1,)."""
    if isinstance(target, Tags):
        return np.asarray(truth.sum(0, dtype=np.int64))
    if isinstance(target, Classes):
        return np.bincount(truth, minlength=len(target.names))
    return np.array([len(truth)])


def require_in_parts(names: Sequence[str], held: np.ndarray, has_own_tests: bool) -> None:
    """Says which labels have no row in a part (P, K).

    Raises:
        InputError: there is one, but for test rows that were given and may lack one of many.
    """
    if held.all():
        return
    purpose = "validation" if has_own_tests else "testing and validation"
    if len(names) <= 2:
        raise too_few(held.sum(0).tolist(), purpose)
    for part, counts in zip(PARTS, held, strict=True):
        without = [name for name, count in zip(names, counts, strict=True) if not count]
        if not without:
            continue
        rows = held.sum(0)[names.index(without[0])]
        shown = ", ".join(f"{name!r:.40}" for name in without[:5])
        more = f" and {len(without) - 5:,} more" if len(without) > 5 else ""
        if part == "test" and has_own_tests:
            logger.warning("no test row has the label %s%s", shown, more)
            continue
        raise InputError(
            f"--dataset must hold enough rows of every label to set some aside for {purpose}: no row of the {part} "
            f"part has {shown}{more} ({counted(int(rows), 'row')} in all); leave these rows out, or join labels"
        )


def _named(data: ReviewsData, archive: Path | None, digest: str | None, cache: Path) -> SourceRows:
    """A data set that has a name."""
    dataset = DATASETS[data.dataset]
    if archive is None or digest is None:
        splits = dataset.read(None)
    else:
        folder = cache / "tables" / f"{dataset.name}-{dataset.version}-{digest[:16]}"
        splits = _read_cached(dataset, archive, folder)
    rest, test = splits.train, splits.test
    if test is None:
        rest, test = split(rest, data.test_share, data.split_seed, "testing")
    tables = (*split(rest, data.validation_share, data.split_seed, "validation"), test)
    batches = (
        (part, table.slice(start, PART_BATCH))
        for part, table in enumerate(tables)
        for start in range(0, len(table), PART_BATCH)
    )
    by_group = rest["group"].null_count < len(rest)
    return SourceRows(classes_of(splits.labels), sum(map(len, tables)), by_group, batches)


def _of_files(data: ReviewsData) -> SourceRows:
    """Files of one's own: reads their labels and groups, and draws."""
    files = LabelledFiles.find(
        data.dataset, data.columns, "--dataset", data.label_rule, data.reading
    )
    files, task = _with_task(files, data)
    draw, survey = Draw(data.split_seed), LabelSurvey(task, data.label_column)
    for keys in _keys(files):
        survey.add(keys["label"])
        draw.add(survey.strata(keys["label"]), keys["group"])
        if survey.is_given_up:
            break
    files.unlabelled.require_few(data.columns, data.unlabelled)
    target = survey.target()
    rows, missing, tests = draw.rows.total(), files.unlabelled.missing, None
    if data.test_dataset is not None:
        tests = LabelledFiles.find(
            data.test_dataset, data.columns, "--test-dataset", files.rule, data.reading
        )
        rows += _test_rows(tests, target, data)
        missing += tests.unlabelled.missing
    if missing:
        first = files.unlabelled.first or (tests.unlabelled.first if tests else "")
        logger.warning(
            "%s without a label in %r left out, the first is %s",
            counted(missing, "row"),
            data.label_column,
            first,
        )
    share = data.test_share if tests is None else 0.0
    strata = target.names if isinstance(target, Classes) else ("",)
    cuts = draw.cuts(strata, share, data.validation_share)
    batches = _drawn(files, tests, target, cuts, RowNumbers(data.split_seed))
    named = target.model_copy(update={"names": files.names(target.names)})
    return SourceRows(named, rows, draw.by_group, batches, missing, tests is not None)


def _with_task(files: LabelledFiles, data: ReviewsData) -> tuple[LabelledFiles, LabelTask]:
    """The files, their labels read as the task has them, and the task, which is logged with its reason."""
    task, why = data.wanted_task, "as was asked for"
    if task is None:
        head, _ = next(files.read_keys())
        found = Counter(head["label"].to_pylist())
        task, why = find_task(found, data.label_column)
        # What was counted on the way is counted again.
        files = replace(files, unlabelled=Unlabelled(), spellings={})
    logger.info("task: %s, %s", task, why)
    return replace(files, rule=replace(files.rule, several=task == "tag")), task


def _keys(files: LabelledFiles) -> Iterator[pa.Table]:
    """The labels and groups of all rows."""
    before = 0
    with rows_bar("reading labels", sum(file.size for file in files.files)) as advance:
        for keys, done in files.read_keys():
            advance(len(keys), done - before)
            before = done
            yield keys


def _test_rows(tests: LabelledFiles, target: Target, data: ReviewsData) -> int:
    """How many test rows with a label there are.

    Raises:
        InputError: they have other labels than the others, of two classes one only, or too few have one.
    """
    survey, labels = LabelSurvey(target.task, data.label_column), target.names
    total = 0
    for keys in _keys(tests):
        total += len(keys)
        survey.add(keys["label"])
        if not isinstance(target, Numbers) and (unknown := sorted(set(survey.rows) - set(labels))):
            known = (
                " and ".join(map(repr, labels)) if len(labels) <= 2 else f"{len(labels):,} labels"
            )
            raise InputError(
                f"--test-dataset must hold the labels of --dataset, {known}; "
                f"found {unknown[0]!r} as well{_hint(unknown[0], labels)}"
            )
    tests.unlabelled.require_few(data.columns, data.unlabelled)
    if isinstance(target, Classes) and len(survey.rows) < 2:
        alone = next(iter(survey.rows), "none")
        which = "both labels" if target.is_pair else "two labels or more"
        raise InputError(f"--test-dataset must hold rows of {which}, found {alone!r} alone")
    return total


def _hint(label: str, labels: tuple[str, ...]) -> str:
    """What to do about a label that is like one of the others."""
    return "; --join-labels makes one of them" if near([label, *labels]) else ""


def _drawn(
    files: LabelledFiles,
    tests: LabelledFiles | None,
    target: Target,
    cuts: np.ndarray,
    numbers: RowNumbers,
) -> Iterator[tuple[int, pa.Table]]:
    for table in files.read_reviews(target):
        strata = np.zeros(len(table), np.int64)
        if isinstance(target, Classes):
            strata = table["label"].to_numpy()
        drawn = sides(numbers.draw(table["group"]), strata, cuts)
        for part in np.unique(drawn).tolist():
            yield part, table.filter(pa.array(drawn == part))
    if tests is not None:
        for table in tests.read_reviews(target):
            yield TEST, table


def _read_cached(dataset: Dataset, archive: Path, folder: Path) -> Splits:
    """The tables of an archive from `folder`, which is filled the first time."""
    train, test = folder / "train.parquet", folder / "test.parquet"
    if folder.is_dir():
        tests = pq.read_table(test) if test.exists() else None
        return Splits(pq.read_table(train), tests, read_labels(train))
    splits = dataset.read(archive)
    building = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    with at_end(partial(shutil.rmtree, building, ignore_errors=True)):
        building.mkdir(parents=True)
        write_reviews(splits.train, splits.labels, building / train.name)
        if splits.test is not None:
            write_reviews(splits.test, splits.labels, building / test.name)
        try:
            building.rename(folder)
        except OSError:
            # Another run was first; its tables are the same.
            if not folder.is_dir():
                raise
    return splits
