"""Words and pairs of texts, held against what torch finds by sorting."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnfast.text.pairs import Pairs

WORDS = 12


def texts(count: int, dtype: torch.dtype = torch.int32) -> tuple[Tensor, Tensor, Tensor]:
    """Texts of 1 to 90 ids, unknown words and padding among them, in one row after the other."""
    generator = torch.Generator().manual_seed(count)
    lengths = torch.randint(1, 91, (count,), generator=generator)
    ids = torch.randint(0, WORDS, (int(lengths.sum()),), generator=generator, dtype=dtype)
    return ids, lengths.cumsum(0) - lengths, lengths


def pairs_of(ids: Tensor, start: int, length: int) -> Tensor:
    """The keys of a text's pairs of words, in order."""
    first, second = ids[start : start + length - 1].long(), ids[start + 1 : start + length].long()
    return (first * WORDS + second)[(first > 1) & (second > 1)]


def expected_features(
    ids: Tensor, starts: Tensor, lengths: Tensor, keys: Tensor
) -> list[Counter[int]]:
    """The features of each text, and how often each is there."""
    found = []
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        words = ids[start : start + length].long()
        known = [keys.tolist().index(k) for k in pairs_of(ids, start, length).tolist() if k in keys]
        found.append(Counter([*words[words > 1].tolist(), *(WORDS + p for p in known)]))
    return found


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("most", [1, 17, 1000])
def test_the_most_frequent_pairs_are_known(dtype: torch.dtype, most: int) -> None:
    ids, starts, lengths = texts(40, dtype)
    spans = zip(starts.tolist(), lengths.tolist(), strict=True)
    keys, counts = torch.cat([pairs_of(ids, *span) for span in spans]).unique(return_counts=True)
    expected = keys[counts.sort(descending=True, stable=True).indices[:most]].sort().values
    learned = Pairs.learn(ids, starts, lengths, words=WORDS, most=most)
    assert torch.equal(learned.keys, expected)
    assert len(learned) == WORDS + len(expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_each_feature_of_a_text_is_found_once(dtype: torch.dtype) -> None:
    ids, starts, lengths = texts(50, dtype)
    pairs = Pairs.learn(ids, starts, lengths, words=WORDS, most=40)
    offsets, columns, values = pairs.find(ids, starts, lengths)
    found = [part.tolist() for part in np.split(columns, offsets[1:-1])]
    assert offsets[0] == 0
    assert len(found) == 50
    expected = expected_features(ids, starts, lengths, pairs.keys)
    assert [sorted(each) for each in found] == [sorted(each) for each in expected]
    assert values.dtype == np.float32
    counts = [
        counted[feature] for counted, own in zip(expected, found, strict=True) for feature in own
    ]
    np.testing.assert_allclose(values, 1 + np.log(counts), rtol=1e-6)
    assert max(counts) > 5
    # In the order in which they first occur: the words are met before the pairs that they begin.
    for start, length, own in zip(starts.tolist(), lengths.tolist(), found, strict=True):
        words = [w for w in dict.fromkeys(ids[start : start + length].tolist()) if w > 1]
        assert [feature for feature in own if feature < WORDS] == words


@pytest.mark.parametrize("by_counts", [False, True])
def test_sums_are_those_of_the_features(by_counts: bool) -> None:
    ids, starts, lengths = texts(60)
    pairs = Pairs.learn(ids, starts, lengths, words=WORDS, most=40)
    weights = torch.randn(len(pairs), 4, generator=torch.Generator().manual_seed(1))
    weights[:, 0] = weights[:, 0].square()
    expected = torch.zeros(60, 3)
    for row, counted in enumerate(expected_features(ids, starts, lengths, pairs.keys)):
        counts = torch.tensor([*counted.values()], dtype=torch.float64)[:, None]
        value = 1 + counts.log() if by_counts else torch.ones_like(counts)
        held = weights[[*counted]].double()
        norm = (held[:, :1] * value.square()).sum().sqrt()
        expected[row] = (held[:, 1:] * value).sum(0) / norm if norm > 0 else 0.0
    found = pairs.sum(ids, starts, lengths, weights, by_counts=by_counts)
    torch.testing.assert_close(found, expected)


def test_counts_change_nothing_where_nothing_is_there_twice() -> None:
    ids = torch.arange(2, WORDS)
    starts, lengths = torch.tensor([0, 3]), torch.tensor([3, 7])
    pairs = Pairs.learn(ids, starts, lengths, words=WORDS, most=40)
    weights = torch.rand(len(pairs), 3, generator=torch.Generator().manual_seed(1))
    once, counted = (pairs.sum(ids, starts, lengths, weights, by_counts=by) for by in (False, True))
    assert torch.equal(once, counted)


def test_a_text_without_a_word_has_no_feature_and_sums_to_0() -> None:
    ids, starts, lengths = torch.tensor([0, 1, 0, 5]), torch.tensor([0, 3]), torch.tensor([3, 1])
    pairs = Pairs(torch.tensor([5 * WORDS + 5]), WORDS)
    assert [each.tolist() for each in pairs.find(ids, starts, lengths)] == [
        [0, 0, 1],
        [5],
        [1.0],
    ]
    for by_counts in (False, True):
        sums = pairs.sum(ids, starts, lengths, torch.ones(len(pairs), 2), by_counts=by_counts)
        assert sums.tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("by_counts", [False, True])
def test_a_row_is_the_same_bit_for_bit_in_any_company_and_for_any_number_of_threads(
    by_counts: bool,
) -> None:
    ids, starts, lengths = texts(300)
    pairs = Pairs.learn(ids, starts, lengths, words=WORDS, most=40)
    weights = torch.rand(len(pairs), 2, generator=torch.Generator().manual_seed(1))
    sums = partial(pairs.sum, weights=weights, by_counts=by_counts)
    together = sums(ids, starts, lengths)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            some = torch.tensor([299, 7, 7, 120])
            alone = sums(ids, starts[some], lengths[some])
            assert torch.equal(alone, together[some])
            assert torch.equal(sums(ids, starts, lengths), together)
            found = pairs.find(ids, starts, lengths)
            torch.set_num_threads(2)
            for one, other in zip(found, pairs.find(ids, starts, lengths), strict=True):
                np.testing.assert_array_equal(one, other)
    finally:
        torch.set_num_threads(before)


def test_hashes_that_collide_are_told_apart() -> None:
    """All pairs of many words: there are pairs at every place of the table."""
    words = 300
    keys = torch.arange(2 * words, 200 * words)
    keys = keys[keys % words > 1][:40_000]
    pairs = Pairs(keys, words)
    ids = torch.stack([keys // words, keys % words], 1).contiguous()
    starts = torch.arange(len(keys)) * 2
    _, columns, _ = pairs.find(ids, starts, torch.full((len(keys),), 2))
    found = columns[columns >= words]
    np.testing.assert_array_equal(found, words + np.arange(len(keys)))
    unknown = torch.tensor([[250, 251], [299, 2]])
    assert max(pairs.find(unknown, torch.tensor([0, 2]), torch.tensor([2, 2]))[1]) < words
