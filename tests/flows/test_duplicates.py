import numpy as np
import pyarrow as pa

from flows.steps.prepare.duplicates import in_both, text_digests


def digests(*texts: str) -> np.ndarray:
    return text_digests(pa.chunked_array([texts[:1], texts[1:]], pa.string())).copy()


def test_same_text_but_for_case_and_outer_space() -> None:
    train = digests("A good one. ", "ÉTÉ", "bad")
    test = digests("a GOOD one.", "a good one", "été\n", "BAD", "worse")
    assert in_both(train, test).tolist() == [True, False, True, True, False]


def test_none_in_nothing() -> None:
    assert in_both(np.empty(0, np.uint64), digests("a")).tolist() == [False]
    assert in_both(digests("a"), np.empty(0, np.uint64)).tolist() == []
