"""Locks on folders of this machine, which the system takes away when their process ends, however it does."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(
    path: Path, *, shared: bool = False, wait: bool = True, must: bool = True
) -> Iterator[bool]:
    """Holds the lock of a folder or file that exists, and yields whether it was to be had.

    Args:
        path: what is locked; nothing is written to it.
        shared: beside others that share it, and not alone.
        wait: until it is free; else the block is told at once that it is not.
        must: raises OSError where the file system, such as that of a network, has no such locks; else whoever would
            wait goes on without, and whoever would not is told that it is not free.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield _take(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait, must, path)
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int, wait: bool, must: bool, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if must:
            raise OSError(error.errno, f"cannot be locked: {error.strerror}", str(path)) from error
        return wait
    return True
