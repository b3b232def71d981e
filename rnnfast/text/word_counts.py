"""How often each word occurs in a corpus of any size: counted in parts, summed exactly."""

from __future__ import annotations

import tempfile
from pathlib import Path
from threading import Lock
from typing import IO

from rnnfast import _text
from rnnfast.text.reference import SplitBy, require_split_by
from rnnfast.text.strings import Texts, columns

FAN_IN = 32  # runs that are merged into one


class WordCounts:
    """How often each word of some texts occurs, standardized as in `rnnfast.text.vocabulary`.

    The counts are exact for a corpus of any size, so that they depend neither on how it was divided into shards, nor on
    who counted them or in which order. Words are counted in a table of bounded size. A full one is written to a
    temporary file, sorted by word; 32 such files at a time are merged into one, and 32 of these in turn. They are in
    the folder that `tempfile` picks (TMPDIR moves it), have no name, and so are gone whatever ends the process.

    >>> counts = WordCounts()
    >>> counts.add(["We are learning AI", "AI is a CS topic"])
    >>> counts.most_frequent(2)
    [('ai', 2), ('a', 1)]

    Counts of shards are added up by `save` in one process and `include` in another.
    """

    def __init__(self, max_distinct: int = 1_000_000, split_by: SplitBy = "spaces") -> None:
        """`max_distinct` words of at most 32 bytes in the mean are held in memory: by default some 150 MB.

        Raises ValueError unless it is at least 1, and `split_by` "spaces" or "characters".
        """
        self.split_by = require_split_by(split_by)
        if max_distinct < 1:
            raise ValueError(f"max_distinct must be at least 1, got: {max_distinct}")
        self._table = _text.Counts(max_distinct, split_by == "characters")
        self._levels: list[list[IO[bytes]]] = []  # runs that were merged 0, 1, ... times
        self._lock = Lock()

    def add(self, texts: Texts) -> None:
        """Counts the words of raw texts; threads may call it at the same time, and wait for each other.

        Raises TypeError and ValueError as `rnnfast.text.strings.columns`; what came before the bad part is counted.
        OSError where a temporary file cannot be written.
        """
        for column in columns(texts):
            with self._lock:
                row = 0
                while (row := self._table.add(column, row)) < len(column):
                    self._spill()

    def include(self, path: str | Path) -> None:
        """Adds the counts of a file that `save` wrote. It is read later, and must stay until then as it is.

        Raises OSError where there is no such file. A broken one is a ValueError of whatever reads the counts.
        """
        with self._lock:
            self._keep(Path(path).open("rb"), 0)  # noqa: SIM115 (until it is merged)

    def save(self, path: str | Path) -> None:
        """Writes the counts: a line for each word, a tab and its count, in code point order; last their number.

        Raises ValueError where a file that was included is broken.
        """
        with self._lock, Path(path).open("wb") as file:
            _text.merge(self._runs(), file.fileno())

    def most_frequent(self, size: int) -> list[tuple[str, int]]:
        """The most frequent words and their counts, highest first; ties in alphabetical (code point) order.

        Raises ValueError where a file that was included is broken.
        """
        with self._lock:
            return _text.most_frequent(self._runs(), size)

    def _runs(self) -> list[_text.RunFile]:
        """All that was counted."""
        if len(self._table):
            self._spill()
        return _run_files([file for level in self._levels for file in level])

    def _spill(self) -> None:
        run = tempfile.TemporaryFile()  # noqa: SIM115 (until it is merged)
        self._table.write(run.fileno())
        self._keep(run, 0)

    def _keep(self, run: IO[bytes], level: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        runs = self._levels[level]
        runs.append(run)
        if len(runs) == FAN_IN:
            merged = tempfile.TemporaryFile()  # noqa: SIM115 (until it is merged)
            _text.merge(_run_files(runs), merged.fileno())
            for file in runs:
                file.close()
            self._levels[level] = []
            self._keep(merged, level + 1)


def _run_files(files: list[IO[bytes]]) -> list[_text.RunFile]:
    # A file without a name calls itself by its descriptor.
    return [_text.RunFile(file.fileno(), str(file.name)) for file in files]
