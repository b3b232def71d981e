"""From the columns of a file to labels of any kind."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from flows.errors import InputError
from flows.parameters import ReviewsData, SensorsData, SensorsModel, SensorsTraining
from flows.steps.prepare.label_kinds import find_task
from flows.steps.prepare.reviews import PreparedReviews, prepare
from flows.steps.prepare.series import PreparedSeries, part_windows, prepare_series
from flows.steps.prepare.settings import sensors_data, sensors_settings
from rnnfast.labels import Classes, Numbers, Tags


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["neg", "pos"], "classify"),
        (["0", "1"], "classify"),
        (["0.1", "0.9"], "classify"),
        ([str(n) for n in range(1, 11)], "classify"),
        ([str(n) for n in range(40)], "regress"),
        (["1", "1.5", "2"], "regress"),
        ([f"class {n}" for n in range(40)], "classify"),
        (["late", "broken", "late;broken"], "tag"),
        (["a; b", "c; d"], "classify"),  # no part comes again: these are names
    ],
)
def test_what_labels_are_by_how_they_are_written(labels: list[str], task: str) -> None:
    assert find_task(dict.fromkeys(labels, 5), "label").task == task


def prepared(
    folder: Path, labels: list[object], **data: object
) -> tuple[PreparedReviews, pa.Table]:
    """Of 120 rows whose labels go round: what is known of them, and all that were written."""
    own = [labels[i % len(labels)] for i in range(120)]
    pq.write_table(
        pa.table({"text": [f"text {i}" for i in range(120)], "label": own}), folder / "a.parquet"
    )
    (folder / "parts").mkdir()
    found = prepare(
        ReviewsData(dataset=str(folder / "a.parquet"), **data), None, folder, folder / "parts"
    )
    parts = [
        pq.read_table(folder / "parts" / f"{part}.parquet")
        for part in ("train", "validation", "test")
    ]
    return found, pa.concat_tables(parts)


def test_many_classes_by_their_names_as_written(tmp_path: Path) -> None:
    found, rows = prepared(tmp_path, ["Team B", "billing", "2nd line"])
    assert found.target == Classes(names=("2nd line", "Team B", "billing"))
    assert found.facts.outputs == 3
    assert np.bincount(rows["label"].to_numpy()).tolist() == [40, 40, 40]


def test_numbers(tmp_path: Path) -> None:
    found, rows = prepared(tmp_path, [1.5, 2, 4, None], unlabelled=0.5)
    assert isinstance(found.target, Numbers)
    assert (found.rows["unlabelled_rows"], len(rows)) == (30, 90)
    train = rows["label"].to_numpy()[: found.rows["train_rows"]]
    assert found.target.mean == pytest.approx(train.mean())
    assert found.target.scale == pytest.approx(train.std())


def test_tags_in_lists(tmp_path: Path) -> None:
    found, rows = prepared(tmp_path, [["late"], ["late", "rude"], []], task="tag")
    assert found.target == Tags(names=("late", "rude"))
    assert found.target.truth(rows["label"]).sum(0).tolist() == [80, 40]
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError, match="must hold numbers for --task regress, found 'late'"):
        prepared(tmp_path / "more", ["late", "1"], task="regress")


def test_several_columns_are_tags(tmp_path: Path) -> None:
    lines = [f"text {i},{i % 2},{'yes' if i % 3 else 'no'}\n" for i in range(120)]
    (tmp_path / "a.csv").write_text("text,late,rude\n" + "".join(lines))
    data = ReviewsData(dataset=str(tmp_path / "a.csv"), label_column="late,rude")
    target = prepare(data, None, tmp_path, tmp_path).target
    assert target == Tags(names=("late", "rude"))
    tables = [
        pq.read_table(tmp_path / f"{part}.parquet") for part in ("train", "validation", "test")
    ]
    held = target.truth(pa.concat_tables(tables)["label"])
    assert held.sum(0).tolist() == [60, 80]
    (tmp_path / "a.csv").write_text("text,late,rude\n" + "a,1,perhaps\n" * 50)
    with pytest.raises(InputError, match=r"'rude' must hold 0 and 1 where .* found 'perhaps'"):
        prepare(data, None, tmp_path, tmp_path)


def test_a_class_that_a_part_lacks(tmp_path: Path) -> None:
    labels: list[object] = ["a", "b"] * 59 + ["c", "a"]
    with pytest.raises(
        InputError, match=r"every label .* no row of the validation part has 'c' \(1 row in all\)"
    ):
        prepared(tmp_path, labels)


def windows(
    folder: Path, label: str, **data: object
) -> tuple[PreparedSeries, dict[str, tuple[np.ndarray, ...]]]:
    """Eight machines with 60 readings, `x` rising by 1 from 0: what is known, and windows and truth of each part."""
    lines = [
        f"2024-01-01T{i // 60:02}:{i % 60:02}:00,m{machine},{i},{eval(label, {'i': i})}\n"
        for machine in range(8)
        for i in range(60)
    ]
    (folder / "a.csv").write_text("time,machine,x,y\n" + "".join(lines))
    asked = SensorsData(
        dataset=str(folder / "a.csv"), label_column="y", group_column="machine", **data
    )
    model = SensorsModel(lookback=10)
    own = sensors_data(asked, model)
    found = prepare_series(
        own,
        None,
        lambda facts: sensors_settings(own, model, SensorsTraining(), facts).model,
        folder,
    )
    config = sensors_settings(own, model, SensorsTraining(), found.facts).model
    parts = {}
    for part in ("train", "validation", "test"):
        some, truth, _ = part_windows(folder, part, config)  # type: ignore[misc]
        every = np.arange(len(some))
        parts[part] = some.take(torch.from_numpy(every)).numpy(), truth.numpy()
    return found, parts


def test_a_window_has_the_number_at_its_end(tmp_path: Path) -> None:
    # Every third reading has the time that is left, which is no feature.
    found, parts = windows(tmp_path, "59.5 - i if i % 3 == 2 else ''")
    assert (found.info.channels, found.info.labels) == (("x",), ())
    assert isinstance(found.target, Numbers)
    for values, truth in parts.values():
        assert len(truth)
        assert truth == pytest.approx(59.5 - values[:, -1, 0])
        assert values[:, -1, 0].max() == 59  # the last window ends where the readings end


def test_windows_of_tags(tmp_path: Path) -> None:
    found, parts = windows(tmp_path, "['hot', 'hot;loud', 'loud'][i // 20]")
    assert found.target == Tags(names=("hot", "loud"))
    assert found.info.labels == ("hot", "loud")
    for values, truth in parts.values():
        assert np.array_equal(truth[:, 0], values[:, 0, 0] < 40)
        assert np.array_equal(truth[:, 1], values[:, 0, 0] >= 20)


def test_the_column_of_labels_is_no_feature(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--features must not hold the column of labels.*'y'"):
        windows(tmp_path, "i % 2", task="classify", features="x,y")
