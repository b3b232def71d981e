import numpy as np
import pyarrow as pa
import pytest

from flows.steps.prepare.draw import TEST, TRAIN, VALIDATION, Draw, RowNumbers, sides

Groups = list[str | None]


def drawn(
    labels: list[int], groups: Groups, seed: int = 0, batch: int = 100, test: float = 0.2
) -> np.ndarray:
    """The side of each row, where a tenth of the rest is for validation."""
    names = pa.chunked_array([pa.array([str(label) for label in labels])])
    of = pa.chunked_array([pa.array(groups, pa.string())])
    draw, numbers = Draw(seed), RowNumbers(seed)
    for start in range(0, len(labels), batch):
        draw.add(names.slice(start, batch), of.slice(start, batch))
    cuts = draw.cuts(("0", "1"), test, 0.1)
    parts = [
        sides(numbers.draw(of.slice(start, batch)), np.array(labels[start : start + batch]), cuts)
        for start in range(0, len(labels), batch)
    ]
    return np.concatenate(parts)


LABELS = [0, 0, 0, 1] * 1000
GROUPED: Groups = [f"g{i * 7 % 500}" for i in range(4000)]
MIXED: Groups = [f"g{i // 4}" if i < 2000 else None for i in range(4000)]


@pytest.mark.parametrize("groups", [[None] * 4000, GROUPED, MIXED], ids=["row", "group", "mixed"])
def test_batches_do_not_matter_and_the_seed_does(groups: Groups) -> None:
    first = drawn(LABELS, groups, batch=4000)
    for batch in (1, 37):
        np.testing.assert_array_equal(first, drawn(LABELS, groups, batch=batch))
    assert (first != drawn(LABELS, groups, seed=1)).any()


def test_without_groups_each_side_has_its_share_of_each_label() -> None:
    found = drawn(LABELS, [None] * 4000)
    for label, rows in ((0, 3000), (1, 1000)):
        of_label = found[np.array(LABELS) == label]
        assert [(of_label == side).sum() for side in (TRAIN, VALIDATION, TEST)] == [
            rows * 72 // 100, rows * 8 // 100, rows * 20 // 100]  # fmt: skip


def test_groups_stay_whole_and_sides_have_their_share_of_them() -> None:
    found = drawn(LABELS, GROUPED)
    of_side = [{GROUPED[i] for i in np.flatnonzero(found == side)} for side in range(3)]
    assert [len(groups) for groups in of_side] == [360, 40, 100]
    assert len(set.union(*of_side)) == 500


def test_rows_without_a_group_are_drawn_one_by_one() -> None:
    found = drawn(LABELS, MIXED)
    whole = found[:2000].reshape(500, 4)
    assert (whole == whole[:, :1]).all()
    # 500 groups and 2,000 rows: how many of either are drawn is left to chance.
    assert (whole[:, 0] == TEST).sum() + (found[2000:] == TEST).sum() == 500
    assert 340 < (found[2000:] == TEST).sum() < 460


def test_neighbours_are_drawn_independently() -> None:
    found = drawn([0, 1] * 20_000, [None] * 40_000, test=0.5) == TEST
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.02
    # Of 400 runs of 100 rows each: a binomial's standard deviation of its share is 0.05.
    assert found.reshape(400, 100).mean(1).std() == pytest.approx(0.05, rel=0.15)


def test_no_row_is_for_testing_where_others_are() -> None:
    found = drawn(LABELS, [None] * 4000, test=0.0)
    assert [(found == side).sum() for side in (TRAIN, VALIDATION, TEST)] == [3600, 400, 0]
