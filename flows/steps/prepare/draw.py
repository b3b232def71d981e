"""Draws which rows are for testing and for validation, where there are too many to be held.

Every row has a number: that of its group, which is made of the group's name and the seed, or without a group the next
one of a generator with that seed. Those with the lowest numbers are for testing, those that follow for validation. So
the draw depends on the rows and their order alone, not on the batches in which they come, and the rows can go by
twice: once for their numbers, of which 8 bytes a row are held, and once to be told apart.
"""

from array import array
from collections import Counter
from hashlib import blake2b
from math import ceil

import numpy as np
import pyarrow as pa

TRAIN, VALIDATION, TEST = 0, 1, 2


class RowNumbers:
    """The numbers of rows, (N,) uint64 for the next N at a time."""

    def __init__(self, seed: int) -> None:
        """Starts at the first row."""
        self._generator = np.random.PCG64(seed)
        self._seed = f"{seed} ".encode()

    def draw(self, groups: pa.ChunkedArray) -> np.ndarray:
        """The numbers of the rows that are in these groups, or, where these are null, in none."""
        numbers = self._generator.random_raw(len(groups))
        if groups.null_count < len(groups):
            coded = groups.combine_chunks().dictionary_encode()
            of_groups = [self._of_group(name) for name in coded.dictionary.to_pylist()]
            present = groups.is_valid().to_numpy()
            numbers[present] = np.array(of_groups)[coded.indices.drop_null().to_numpy()]
        return numbers

    def _of_group(self, name: str) -> np.uint64:
        digest = blake2b(self._seed + name.encode(), digest_size=8).digest()
        result: np.uint64 = np.frombuffer(digest, np.uint64)[0]
        return result


class Draw:
    """The numbers of all rows, for the first time that they go by.

    Attributes:
        rows: how many there are of each label.
    """

    def __init__(self, seed: int) -> None:
        """Starts without rows."""
        self.rows: Counter[str] = Counter()
        self._numbers = RowNumbers(seed)
        self._groups = array("Q")  # of each batch's groups
        self._single: dict[str, array[int]] = {}  # of rows without a group, by their label

    @property
    def by_group(self) -> bool:
        """Whether any row has a group."""
        return bool(self._groups)

    def add(self, labels: pa.ChunkedArray, groups: pa.ChunkedArray) -> None:
        """Takes the labels, none of them null, and the groups of the next rows."""
        numbers = self._numbers.draw(groups)
        single = groups.is_null().to_numpy()
        self._groups.frombytes(np.unique(numbers[~single]).tobytes())
        coded = labels.combine_chunks().dictionary_encode()
        codes = coded.indices.to_numpy()
        for code, label in enumerate(coded.dictionary.to_pylist()):
            chosen = codes == code
            self.rows[label] += int(chosen.sum())
            self._single.setdefault(label, array("Q")).frombytes(numbers[chosen & single].tobytes())

    def cuts(self, labels: tuple[str, ...], test: float, validation: float) -> np.ndarray:
        """Where the parts end: of each label (K, 2) the number that test rows, and that validation rows are below.

        Where any row has a group, the shares are of the groups, a row without one counted as a group; else of each
        label's rows. Takes the numbers apart, so that it is called once.

        Args:
            labels: those that there are.
            test: the share for testing; 0 where there are test rows already.
            validation: the share of the rest for validation.
        """
        if not self.by_group:
            return np.stack(
                [_ends(_view(self._single[label]), test, validation) for label in labels]
            )
        for label in labels:
            self._groups.extend(self._single.pop(label))
        numbers = _view(self._groups)
        numbers.sort()
        first = np.ones(len(numbers), bool)
        first[1:] = numbers[1:] != numbers[:-1]
        return np.stack([_ends(numbers[first], test, validation)] * len(labels))


def _view(numbers: "array[int]") -> np.ndarray:
    return np.frombuffer(numbers, np.uint64)


def _ends(numbers: np.ndarray, test: float, validation: float) -> np.ndarray:
    """The numbers, none of them twice, at which so many are below; reorders them."""
    tests = ceil(test * len(numbers))
    validations = ceil(validation * (len(numbers) - tests))
    places = np.minimum([tests, tests + validations], len(numbers) - 1)
    numbers.partition(places)
    return numbers[places]


def sides(numbers: np.ndarray, labels: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """TRAIN, VALIDATION or TEST for each row, (N,) int8, of its number and its label, from 0."""
    result: np.ndarray = (numbers[:, None] < cuts[labels]).sum(1, dtype=np.int8)
    return result
