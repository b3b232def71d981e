"""The server of what `rnnfast serve` shows: an overview, the files of the runs, and the reports of scores."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from flows.orchestration.loopback import OnlyFromHere
from flows.orchestration.overview import overview
from flows.orchestration.own_server import HOST
from flows.orchestration.showing import RUNS, is_shown, reports
from rnnfast.reports.pages import page


@contextmanager
def shown(folder: Path, port: int) -> Iterator[None]:
    """Shows the runs and reports below a folder at a port of this machine, while the block lasts.

    Raises:
        OSError: the port is taken.
    """
    (folder / RUNS).mkdir(exist_ok=True)
    pages = Mount("/", _Pages(folder.absolute()))
    app = Starlette(routes=[pages], middleware=[Middleware(OnlyFromHere)])
    config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", access_log=False)
    server = uvicorn.Server(config)
    with create_server((HOST, port), backlog=100) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


class _Pages(StaticFiles):
    """The files that may be read, a list of those in each folder, and of the first one an overview."""

    def __init__(self, root: Path) -> None:
        super().__init__(directory=root, follow_symlink=True)
        self._root = root

    def get_path(self, scope: Any) -> str:
        """The path that is asked for, whose names need not be UTF-8, as those of files need not."""
        names = os.fsdecode(unquote_to_bytes(scope["raw_path"])).split("/")
        return os.path.normpath(os.path.join(*names))

    async def get_response(self, path: str, scope: Any) -> Response:
        """Answers as if nothing were there where a path may not be read."""
        full = self._root / path
        if not is_shown(self._root, full):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if scope["path"].endswith("/") != full.is_dir():
            if not full.is_dir():
                raise HTTPException(HTTPStatus.NOT_FOUND)
            there = quote(path, errors="surrogateescape")
            return RedirectResponse(f"/{there}/", HTTPStatus.MOVED_PERMANENTLY)
        if full.is_dir():
            return HTMLResponse(await run_in_threadpool(self._page, full))
        return await super().get_response(path, scope)

    def _page(self, folder: Path) -> bytes:
        if folder == self._root:
            return overview(folder)
        return page(
            "folder.html.jinja",
            title=str(folder.relative_to(self._root)),
            links=[(quote(name, errors="surrogateescape"), name) for name in self._names(folder)],
        ).content

    def _names(self, folder: Path) -> Iterator[str]:
        """What there is in a folder to be read; the name of a folder ends in a slash."""
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not is_shown(self._root, path):
                continue
            if path.is_file():
                yield path.name
            elif self._leads(path):
                yield f"{path.name}/"

    def _leads(self, folder: Path) -> bool:
        """Whether there is something to be read in a folder or below it."""
        if folder.resolve().is_relative_to((self._root / RUNS).resolve()):
            return True
        return any(reports(self._root, folder))
