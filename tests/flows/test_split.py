import pyarrow as pa
import pytest

from flows.datasets.base import SCHEMA
from flows.errors import InputError
from flows.steps.prepare.split import split


def table(labels: list[int], groups: list[str | None]) -> pa.Table:
    ids = [f"r{i}" for i in range(len(labels))]
    return pa.table([ids, ids, pa.array(labels, pa.int8()), groups], schema=SCHEMA)


BY_ROW = table([0, 0, 0, 1] * 50, [None] * 200)
BY_GROUP = table([0, 1] * 100, [f"g{i // 5}" for i in range(200)])


@pytest.mark.parametrize("rows", [BY_ROW, BY_GROUP], ids=["row", "group"])
def test_each_row_is_on_one_side_in_the_old_order(rows: pa.Table) -> None:
    rest, part = (side["id"].to_pylist() for side in split(rows, 0.2, 0, "testing"))
    assert len(part) == 40
    assert set(rest) | set(part) == set(rows["id"].to_pylist())
    for side in (rest, part):
        assert side == sorted(side, key=lambda name: int(name[1:]))


@pytest.mark.parametrize("rows", [BY_ROW, BY_GROUP], ids=["row", "group"])
def test_the_seed_decides(rows: pa.Table) -> None:
    assert split(rows, 0.2, 3, "x")[1].equals(split(rows, 0.2, 3, "x")[1])
    assert not split(rows, 0.2, 3, "x")[1].equals(split(rows, 0.2, 4, "x")[1])


def test_no_group_is_on_both_sides() -> None:
    rest, part = split(BY_GROUP, 0.2, 0, "testing")
    assert not set(rest["group"].to_pylist()) & set(part["group"].to_pylist())


def test_rows_without_a_group_are_groups_by_themselves() -> None:
    rows = table([0, 1] * 50, ["big"] * 20 + [None] * 80)
    rest, part = split(rows, 0.5, 0, "testing")
    assert "big" not in set(rest["group"].to_pylist()) & set(part["group"].to_pylist())
    assert 20 < part.num_rows < 80


def test_without_groups_each_side_has_its_part_of_each_label() -> None:
    rest, part = split(BY_ROW, 0.2, 0, "testing")
    assert sum(part["label"].to_pylist()) == 10
    assert sum(rest["label"].to_pylist()) == 40


@pytest.mark.parametrize(
    "rows",
    [
        table([0, 1], [None, None]),
        table([0, 0, 0, 1], [None] * 4),
        table([0, 1], ["one", "one"]),
        table([0, 0, 1, 1], ["a", "a", "b", "b"]),
    ],
)
def test_too_few_rows(rows: pa.Table) -> None:
    with pytest.raises(InputError, match=f"enough rows.*for testing, found {rows.num_rows}"):
        split(rows, 0.5 if rows.num_rows == 4 and rows["group"][0].as_py() else 0.2, 0, "testing")
