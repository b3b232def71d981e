"""What `rnnfast serve` shows to browsers of this machine, and at which address.

Of the folder that it keeps, a browser may read what is below `runs`, and of `scores` the pages named `report.html`
alone: no scores, no models, no input. What a link leads out of these two folders to is not shown.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from flows import REPORT

RUNS, SCORES = "runs", "scores"
# The address at which `rnnfast serve` shows them, where it does.
ADDRESS = "RNNFAST_RUNS_ADDRESS"


def place(path: Path) -> str | None:
    """Where a file below the present folder is shown, as the path of an address; None where it is not."""
    root = Path.cwd()
    if not path.is_relative_to(root) or not is_shown(root, path):
        return None
    return quote(str(path.relative_to(root)))


def is_shown(root: Path, path: Path) -> bool:
    """Whether a browser may read a file or list a folder, which is at `root` or below it."""
    runs, scores = (root / RUNS).resolve(), (root / SCORES).resolve()
    try:
        path = path.resolve()
        if path == root.resolve() or path.is_relative_to(runs):
            return True
        return path.is_relative_to(scores) and (path.name == REPORT or path.is_dir())
    except (OSError, ValueError, RuntimeError):
        # No file can have the name, or its link leads to itself.
        return False


def reports(root: Path, folder: Path) -> Iterator[Path]:
    """The reports in a folder and below it that may be read."""
    pages = (Path(at, REPORT) for at, _, files in os.walk(folder) if REPORT in files)
    return (page for page in pages if is_shown(root, page))
