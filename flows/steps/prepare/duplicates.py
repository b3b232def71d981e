"""Texts that are in two parts of the data, found by digests of 8 bytes.

Two texts are the same when nothing but upper case, or white space around them, differs. That two others have the same
digest has a chance of 2**-64: one in 11,000 for a single false hit among 80 million rows and 20 million test rows.
"""

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def text_digests(texts: pa.ChunkedArray) -> np.ndarray:
    """Digests (N,) uint64 of N texts."""
    same = pc.utf8_trim_whitespace(pc.utf8_lower(texts)).cast(pa.large_binary())
    digests = b"".join(blake2b(text, digest_size=8).digest() for text in same.to_pylist())
    return np.frombuffer(digests, np.uint64)


def in_both(rest: np.ndarray, test: np.ndarray) -> np.ndarray:
    """For each digest of `test`, whether it is in `rest` as well, which is sorted where it is."""
    rest.sort()
    return among(rest, test)


def among(known: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """For each of some digests whether it is among the known ones, which are sorted."""
    places = np.minimum(np.searchsorted(known, digests), max(len(known) - 1, 0))
    return known[places] == digests if len(known) else np.zeros(len(digests), bool)
