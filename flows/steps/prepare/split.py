"""Splits a table of reviews in two, the same way every time."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from flows.errors import InputError


def split(table: pa.Table, share: float, seed: int, purpose: str) -> tuple[pa.Table, pa.Table]:
    """Splits off a share of the rows, both parts in the order of the table.

    Where rows have groups, whole groups are drawn, so that no group is on both sides; a row without
    a group is one by itself. Otherwise rows are drawn, as many of each label as its part of all.

    Args:
        table: rows of `flows.datasets.base.SCHEMA`.
        share: of the rows, or of the groups, for the second part.
        seed: of the draw.
        purpose: what the second part is for, in the error.

    Raises:
        InputError: a part would lack a label, or all rows.
    """
    groups = table["group"]
    labels = table["label"].to_numpy()
    counts = np.bincount(labels, minlength=2).tolist()
    try:
        if groups.null_count < len(groups):
            keys = pc.coalesce(groups, pc.binary_join_element_wise("row", table["id"], " "))
            splitter = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
            rest, part = next(splitter.split(keys, groups=keys.to_numpy()))
        else:
            rest, part = train_test_split(
                range(table.num_rows),
                test_size=share,
                random_state=seed,
                stratify=labels,
            )
    except ValueError as error:
        raise too_few(counts, purpose) from error
    parts = table.take(pa.array(sorted(rest))), table.take(pa.array(sorted(part)))
    if any(len(pc.unique(side["label"])) < np.count_nonzero(counts) for side in parts):
        raise too_few(counts, purpose)
    return parts


def too_few(counts: Sequence[int], purpose: str) -> InputError:
    """What to raise where the rows of each label, so many, are not enough to set some aside."""
    pair = len(counts) == 2
    return InputError(
        f"--dataset must hold enough rows{' of both labels' * pair} to set some aside for {purpose}, "
        f"found {sum(counts)}{f': {counts[1]} of label 1' * pair}"
    )
