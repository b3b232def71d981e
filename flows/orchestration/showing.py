"""Shows the runs, and the reports of what was scored, to browsers of this machine.

Of the folder that `python -m flows serve` keeps, a browser may read what is below `runs`, and of `scores` the pages
named `report.html` alone: no scores, no models, no input. What a link leads out of these two folders to is not shown.
"""

import html
import http.server
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from flows import REPORT

HOST = "127.0.0.1"
RUNS, SCORES = "runs", "scores"
# The address at which `python -m flows serve` shows them, where it does.
ADDRESS = "RNNFAST_RUNS_ADDRESS"
LISTING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body style="font: 1rem/1.8 system-ui, sans-serif">
<main>
<h1>{title}</h1>
<ul>{links}</ul>
</main>
</body>
</html>
"""


@contextmanager
def shown(folder: Path, port: int) -> Iterator[None]:
    """Shows the runs and reports below a folder at a port of this machine, while the block lasts."""
    (folder / RUNS).mkdir(exist_ok=True)
    handler = partial(_Handler, directory=str(folder.absolute()))
    with http.server.ThreadingHTTPServer((HOST, port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


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


class _Handler(http.server.SimpleHTTPRequestHandler):
    @property
    def root(self) -> Path:
        """The folder that `runs` and `scores` are in."""
        return Path(self.directory)

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Answers as if nothing were there where a path may not be read; a folder is always listed."""
        path = Path(self.translate_path(self.path))
        if not is_shown(self.root, path):
            self.send_error(HTTPStatus.NOT_FOUND, "File not found")
            return None
        if path.is_dir() and urlsplit(self.path).path.endswith("/"):
            return self.list_directory(path)
        return super().send_head()

    def list_directory(self, path: str | os.PathLike[str]) -> io.BytesIO:
        """Sends a page with a link for each file that may be read, and each folder that leads to one."""
        folder = Path(path)
        title = html.escape(str(folder.relative_to(self.root.parent)))
        links = "".join(
            f'<li><a href="{quote(name, errors="surrogateescape")}">{html.escape(name)}</a></li>'
            for name in self._names(folder)
        )
        page = LISTING.format(title=title, links=links).encode(errors="surrogateescape")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return io.BytesIO(page)

    def log_message(self, *_: object) -> None:
        """Says nothing of a request."""

    def _names(self, folder: Path) -> Iterator[str]:
        """What there is in a folder to be read; the name of a folder ends in a slash."""
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not is_shown(self.root, path):
                continue
            if path.is_file():
                yield path.name
            elif self._leads(path):
                yield f"{path.name}/"

    def _leads(self, folder: Path) -> bool:
        """Whether there is something to be read in a folder or below it."""
        if folder.resolve().is_relative_to((self.root / RUNS).resolve()):
            return True
        pages = (Path(at, REPORT) for at, _, files in os.walk(folder) if REPORT in files)
        return any(is_shown(self.root, page) for page in pages)
