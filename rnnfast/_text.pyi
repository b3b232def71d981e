"""The kernel of `rnnfast.text` and `rnnfast.word_counts`; the headers in `csrc/text` say what each of these does."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

class Strings:
    def __init__(
        self,
        data: bytes | pa.Buffer,
        offsets: np.ndarray | pa.Buffer,
        present: bytes | pa.Buffer | None,
        offset_bytes: int,
        skipped: int,
        size: int,
        first_row: int,
    ) -> None: ...
    def __len__(self) -> int: ...

class Words:
    def __init__(self, words: Strings) -> None: ...

def vectorize(
    texts: Strings,
    words: Words,
    ids: np.ndarray,
    lengths: np.ndarray,
    first_row: int,
    pad_before: bool,
    by_characters: bool,
    threads: int,
) -> None: ...

class Counts:
    def __init__(self, max_words: int, by_characters: bool = False) -> None: ...
    def __len__(self) -> int: ...
    def add(self, texts: Strings, first: int) -> int: ...
    def write(self, descriptor: int) -> None: ...

class RunFile:
    def __init__(self, descriptor: int, name: str) -> None: ...

def merge(runs: Sequence[RunFile], descriptor: int) -> None: ...
def most_frequent(runs: Sequence[RunFile], size: int) -> list[tuple[str, int]]: ...

class Pairs:
    def __init__(self, keys: np.ndarray, words: int) -> None: ...
    def find(
        self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
    def sum(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        weights: np.ndarray,
        by_counts: bool,
        result: np.ndarray,
        threads: int,
    ) -> None: ...

def frequent_pairs(
    ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, words: int, most: int
) -> np.ndarray: ...

class RowEnds:
    def __init__(
        self,
        quoted: bool,
        separator: int = 44,
        quote: int = 34,
        escape: int = -1,
        fields: int = 0,
    ) -> None: ...
    def scan(self, data: bytes | pa.Buffer) -> tuple[np.ndarray, np.ndarray]: ...
    def finish(self) -> tuple[np.ndarray, np.ndarray]: ...
    @property
    def open(self) -> bool: ...

def without_escapes(rows: bytes | bytearray, separator: int, quote: int, escape: int) -> bytes: ...
def translate(code: int) -> str | None: ...
def kind(code: int) -> str: ...
