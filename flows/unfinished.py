"""What has to be put right however a job ends, be it by a signal that nothing is unwound after."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_pending: list[Callable[[], object]] = []


@contextmanager
def at_end(undo: Callable[[], object]) -> Iterator[None]:
    """Calls `undo` after the block, or where the job is ended within it.

    Entered before there is anything to undo, so that no moment is left out. A signal may end the
    job inside `undo` too, which is then called once more.
    """
    _pending.append(undo)
    try:
        yield
    finally:
        try:
            undo()
        finally:
            _pending.remove(undo)


def undo_all() -> None:
    """Calls what the blocks that are under way would call, the innermost first."""
    for undo in reversed(_pending):
        with suppress(Exception):
            undo()
