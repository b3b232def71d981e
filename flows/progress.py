"""What a person sees while a job runs: one console, log lines and progress bars.

Bars are drawn on a terminal only; where the output is a file or a pipe, log lines are all.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
