"""What a person sees while a job runs: one console, log lines and progress bars.

Bars are drawn on a terminal only; where the output is a file or a pipe, log lines are all.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)
logger = logging.getLogger(__name__)


@contextmanager
def bar(title: str, total: float | None, *, unit: str = "") -> Iterator[Callable[[float], None]]:
    """Draws a progress bar.

    Args:
        title: what is being done.
        total: how much there is to do; None where nobody knows.
        unit: "bytes" prints sizes as such, anything else follows the count as a word.

    Yields:
        A function that takes how much was done since it was called last.
    """
    count: ProgressColumn = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count)
    suffix = () if unit in ("", "bytes") else (TextColumn(unit),)
    with Progress(
        *columns,
        *suffix,
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.advance(task, done)


@dataclass(frozen=True)
class StageProgress:
    """How far the work on the rows of some files is."""

    title: str
    rows: int
    part: float  # of all, from 0 to 1
    seconds: float
    is_done: bool = False  # the last one of this work

    @property
    def rows_per_second(self) -> float:
        """Since the work began."""
        return self.rows / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None while nothing is done."""
        return self.seconds * (1 - self.part) / self.part if self.part else None


# Told of every `StageProgress`, beside the terminal.
listeners: list[Callable[[StageProgress], None]] = []


@contextmanager
def rows_bar(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Draws a bar for work on rows, of which nobody need know how many there are, and tells the listeners.

    Args:
        title: what is being done.
        total: bytes of the files that the rows are in, or whatever else tells how far it is.

    Yields:
        A function that takes how many rows were done since it was called last, and their part of `total`.
    """
    rows = done = 0
    started = perf_counter()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f} a second"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(title, total=max(total, 1), rows=0, rate=0.0)

        def advance(more: int, size: int) -> None:
            nonlocal rows, done
            rows, done = rows + more, done + size
            seconds = perf_counter() - started
            standing = StageProgress(title, rows, min(1.0, done / max(total, 1)), seconds)
            progress.update(task, advance=size, rows=rows, rate=standing.rows_per_second)
            _tell(standing)

        yield advance
    _tell(StageProgress(title, rows, 1.0, perf_counter() - started, is_done=True))


def _tell(standing: StageProgress) -> None:
    for tell in listeners:
        tell(standing)


@contextmanager
def stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Measures a stage of a job: enters its seconds under its name, and reports them."""
    started = perf_counter()
    yield
    seconds[name] = perf_counter() - started
    logger.info("%s: %.1f s", name, seconds[name])


def log_to_terminal() -> None:
    """Sends what the flows report to the terminal, in step with the bars."""
    flows = logging.getLogger("flows")
    flows.setLevel(logging.INFO)
    if not any(isinstance(handler, RichHandler) for handler in flows.handlers):
        flows.addHandler(
            RichHandler(console=console, show_time=False, show_path=False, show_level=False)
        )
