"""The folder of a Ray cluster that a job starts for itself; those of jobs that were killed go when the next one starts.

A job holds the lock of a file in its folder, which the system takes away when the job ends, however it does. So a
folder whose lock is free is nobody's. What other programs have there under such a name has no such file.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from flows.store.locks import locked
from flows.unfinished import at_end

LOCK = "rnnfast.lock"


@contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's logs and sockets, whose paths must be short, and which another user may have made in
    the usual place.
    """
    parent = Path(os.environ.get("RAY_TMPDIR", "/tmp"))
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
    with at_end(partial(shutil.rmtree, folder, ignore_errors=True)):
        new = folder / f"{LOCK}.new"
        new.touch()
        with locked(new, must=False):
            # It has its name only now, so that nobody finds it free.
            new.rename(folder / LOCK)
            yield folder


def _sweep(parent: Path) -> None:
    for folder in parent.glob("ray-*"):
        # It may be another user's, have no lock, or be gone by now.
        with suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            with locked(folder / LOCK, wait=False, must=False) as is_free:
                if is_free:
                    shutil.rmtree(folder, ignore_errors=True)
