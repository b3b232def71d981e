"""Which spellings of a label are one label, and which rows have none."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from flows.accounts import account_of_training
from flows.datasets.labels import LabelRule, alike
from flows.errors import InputError
from flows.parameters import ReviewsData, SensorsData
from flows.steps.prepare.reviews import PARTS, prepare
from flows.steps.prepare.series import prepare_series
from rnnfast.models.window_config import WindowConfig

RunCli = Callable[..., Result]


@pytest.mark.parametrize(
    ("spellings", "label"),
    [
        (["0", "0.0", "-0", "0e5", " 0", "+0.", ".0", "00"], "0"),
        (["1", "1.0", "+1", "1e0", "10e-1", "01", "1 "], "1"),
        (["-1", "-1.0", "-1e0"], "-1"),
        (["2.5", "2.50", "25e-1"], "2.5"),
        (["100", "1e2", "100.0"], "100"),
        (["True", "true", "TRUE", " true"], "true"),
        (["False", "FALSE", "false"], "false"),
        (["", " ", "nan", "NaN", "NAN", "None", "N/A", "null", "NULL", "#N/A", "NA", None], None),
        (["9007199254740993"], "9007199254740993"),  # which is no float
        (["pos"], "pos"),
        (["-"], "-"),
        (["1_0"], "1_0"),
        (["inf"], "inf"),
        (["\u0661"], "\u0661"),
        (["1e9999"], "1e9999"),
    ],
)
def test_spellings_of_one_label(spellings: list[str | None], label: str | None) -> None:
    assert {LabelRule().read(each) for each in spellings} == {label}


def test_other_labels_are_as_they_are_written_unless_they_are_joined() -> None:
    spellings = ["pos", "pos ", "Pos", " POS", "\uff30\uff4f\uff53"]
    assert [LabelRule().read(each) for each in spellings] == spellings
    assert {LabelRule(join=True).read(each) for each in spellings} == {"pos"}
    assert LabelRule(missing=("?",)).read("none") == "none"
    assert LabelRule(missing=("?",)).read(" ? ") is None


@given(st.text(), st.booleans())
def test_what_was_read_is_read_as_itself(text: str, join: bool) -> None:
    rule = LabelRule(join)
    label = rule.read(text)
    assert label is None or rule.read(label) in (label, None)
    assert alike(alike(text)) == alike(text)


@given(st.lists(st.sampled_from(["0", "0.0", "True", "nan", "Pos", None]), max_size=20))
def test_a_column_is_read_as_its_values(spellings: list[str | None]) -> None:
    column = pa.chunked_array(
        [pa.array(spellings[:3], pa.string()), pa.array(spellings[3:], pa.string())]
    )
    assert LabelRule().column(column).to_pylist() == [LabelRule().read(each) for each in spellings]


def write(path: Path, labels: list[str], rows: int = 120) -> str:
    """Reviews whose labels go round; returns the file's address."""
    lines = [f'"text {i}","{labels[i % len(labels)]}"\n' for i in range(rows)]
    path.write_text("text,label\n" + "".join(lines))
    return str(path)


def prepared(folder: Path, **data: object) -> tuple[Mapping[str, int], dict[str, pa.Table]]:
    """The counts of the rows, and the parts."""
    work = folder / f"work{len(list(folder.iterdir()))}"
    work.mkdir()
    about = prepare(ReviewsData.model_validate(data), None, folder / "cache", work)
    return about.rows, {part: pq.read_table(work / f"{part}.parquet") for part in PARTS}


def all_labels(parts: dict[str, pa.Table]) -> dict[int, int]:
    values = np.concatenate([part["label"].to_numpy() for part in parts.values()])
    return {int(label): int((values == label).sum()) for label in np.unique(values)}


def names(parts: dict[str, pa.Table]) -> tuple[str, str]:
    return tuple(json.loads(parts["train"].schema.metadata[b"labels"]))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["0", "0.0", "1", "1.0"], ("0", "1")),
        (["True", "false", "TRUE", "False"], ("false", "true")),
    ],
)
def test_numbers_and_booleans_are_one(
    tmp_path: Path, labels: list[str], expected: tuple[str, str]
) -> None:
    counts, parts = prepared(tmp_path, dataset=write(tmp_path / "a.csv", labels))
    assert names(parts) == expected
    assert all_labels(parts) == {0: 60, 1: 60}
    assert counts["unlabelled_rows"] == 0


def test_numbers_of_any_kind_of_file_are_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    texts = [f"text {i}" for i in range(40)]
    for name, values in (
        ("a", pa.array([0.0, 1.0] * 20)),
        ("b", pa.array([0, 1] * 20, pa.int8())),
        ("c", pa.array(["0", "1"] * 20)),
        ("d", pa.array(["0.0", "1.0"] * 20).dictionary_encode()),
    ):
        pq.write_table(pa.table({"text": texts, "label": values}), folder / f"{name}.parquet")
    lines = [
        json.dumps({"text": f"line {i}", "label": [0, 1.0, "0.0", "1"][i % 4]}) for i in range(40)
    ]
    (folder / "e.jsonl").write_text("\n".join(lines))
    _, parts = prepared(tmp_path, dataset=str(folder))
    assert names(parts) == ("0", "1")
    assert all_labels(parts) == {0: 100, 1: 100}


@pytest.mark.parametrize("labels", [["pos", "pos "], ["Pos", "pos"], ["pos", "neg", "Pos", "neg"]])
def test_labels_that_are_alike_are_never_two_in_silence(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(InputError, match=r"--label-column 'label'.*'[Pp]os ?' .*--join-labels"):
        prepared(tmp_path, dataset=write(tmp_path / "a.csv", labels))


def test_labels_are_joined_under_their_most_frequent_spelling(tmp_path: Path) -> None:
    address = write(tmp_path / "a.csv", ["Pos", "neg", "Pos", "NEG", "pos ", "neg"])
    _, parts = prepared(tmp_path, dataset=address, join_labels=True)
    assert names(parts) == ("neg", "Pos")
    assert all_labels(parts) == {0: 60, 1: 60}


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    missing = ["", "nan", "NaN", "None", "N/A"]
    address = write(tmp_path / "a.csv", [*missing, *(["pos", "neg"] * 48)], rows=101)
    counts, parts = prepared(tmp_path, dataset=address)
    assert counts["unlabelled_rows"] == 5
    assert all_labels(parts) == {0: 48, 1: 48}
    texts = {text for part in parts.values() for text in part["text"].to_pylist()}
    assert texts == {f"text {i}" for i in range(5, 101)}
    assert sum(counts[f"{part}_rows"] for part in PARTS) == 96


def test_too_many_rows_without_a_label(tmp_path: Path) -> None:
    address = write(tmp_path / "a.csv", ["pos", "neg", "nan", "", "pos"], rows=100)
    rule = (r"--label-column 'label' must have a label in 90% of the rows, 40 rows of 100 have none "
            r"\('nan', ''\), the first is row 3 of .*a.csv; --set unlabelled=1")  # fmt: skip
    with pytest.raises(InputError, match=rule):
        prepared(tmp_path, dataset=address)
    counts, _ = prepared(tmp_path, dataset=address, unlabelled=0.4)
    assert counts["unlabelled_rows"] == 40
    # What is not said to mean a missing label is one of three classes.
    counts, _ = prepared(tmp_path, dataset=address, unlabelled=1, missing_labels="")
    assert counts["unlabelled_rows"] == 20


def test_no_label_at_all(tmp_path: Path) -> None:
    address = write(tmp_path / "a.csv", [""])
    with pytest.raises(InputError, match="120 rows of 120 have none"):
        prepared(tmp_path, dataset=address)
    with pytest.raises(InputError, match="at least 2 distinct labels, found 0"):
        prepared(tmp_path, dataset=address, unlabelled=1)


def test_labels_of_test_rows_are_read_by_the_same_rule(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ["1", "0"])
    test = write(tmp_path / "test.csv", ["1.0", "0.0", "nan", *(["1", "0"] * 15)], rows=33)
    counts, parts = prepared(tmp_path, dataset=train, test_dataset=test)
    assert (counts["test_rows"], counts["unlabelled_rows"]) == (32, 1)
    assert parts["test"]["label"].to_pylist()[:4] == [1, 0, 1, 0]
    with pytest.raises(InputError, match=r"first is row 2 of .*many\.csv"):
        prepared(tmp_path, dataset=train, test_dataset=write(tmp_path / "many.csv", ["1", "", "0"]))
    with pytest.raises(InputError, match=r"--test-dataset must hold the labels of --dataset.*'2'"):
        prepared(tmp_path, dataset=train, test_dataset=write(tmp_path / "two.csv", ["1", "2"]))


def test_test_labels_of_another_case(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ["pos", "neg"])
    test = write(tmp_path / "test.csv", ["Pos", "NEG"])
    with pytest.raises(InputError, match="found 'NEG' as well; --join-labels makes one of them"):
        prepared(tmp_path, dataset=train, test_dataset=test)
    _, parts = prepared(tmp_path, dataset=train, test_dataset=test, join_labels=True)
    assert parts["test"]["label"].to_pylist()[:2] == [1, 0]


def windows(folder: Path, labels: list[str], **data: object) -> tuple[str, ...]:
    """The labels that readings come to: of six persons with 40 readings of each label."""
    lines = [
        f"2024-01-01T{i // 60:02}:{i % 60:02}:00,p{person},{i % 7},{labels[i // 40]}\n"
        for person in range(6)
        for i in range(40 * len(labels))
    ]
    (folder / "a.csv").write_text("time,who,x,activity\n" + "".join(lines))
    work = folder / f"work{len(list(folder.iterdir()))}"
    work.mkdir()
    said = {"dataset": str(folder / "a.csv"), "task": "classify", "group_column": "who",
            "label_column": "activity"}  # fmt: skip
    config = WindowConfig(task="classify", lookback=8)
    found = prepare_series(SensorsData.model_validate(said | data), None, lambda _: config, work)
    counts = found.rows
    assert counts["unlabelled_readings"] == 6 * 40 * labels.count("nan")
    assert ("No label" in " ".join(account_of_training(counts).lines())) == ("nan" in labels)
    return found.info.labels


def test_labels_of_readings_are_read_by_the_same_rule(tmp_path: Path) -> None:
    assert windows(tmp_path, ["0", "1", "0.0", "nan", "1.0"]) == ("0", "1")
    with pytest.raises(InputError, match=r"'Walk' and 'walk'; --join-labels"):
        windows(tmp_path, ["walk", "sit", "Walk"])
    assert windows(tmp_path, ["walk", "sit", "Walk "], join_labels=True) == ("sit", "walk")


def test_options_of_the_command(
    server: None, run_cli: RunCli, tiny: list[str], tmp_path: Path
) -> None:
    address = write(tmp_path / "a.csv", ["Pos", "neg", "pos", "neg", "n/k"])
    options = ["--dataset", address, *tiny, "--output", tmp_path / "run"]
    missing = ["--set", "missing_labels=n/k", "--set", "unlabelled=0.3"]
    refused = run_cli("reviews", *options, *missing)
    assert refused.exit_code == 2
    assert "--join-labels" in refused.stderr
    result = run_cli("reviews", *options, *missing, "--join-labels")
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["data"]["unlabelled_rows"] == 24
    assert json.loads((tmp_path / "run" / "config.json").read_text())["labels"] == ["neg", "Pos"]
