"""Keeps the flows running by their schedules on one machine: python -m flows serve.

There are three processes: Prefect's server with its UI, a worker which starts the runs, and this one, which starts both
again where they die, shows the runs and the reports of scores to a browser, and prints a line for whatever fails,
drifts or is promoted. All of it listens to this machine alone. When this process ends, so do all others, the runs among
them, which Prefect has as crashed.
"""

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from subprocess import Popen
from typing import Any, Never
from urllib.error import URLError
from urllib.request import urlopen

import typer
import yaml

from flows import cache_folder
from flows.errors import FlowError, InputError
from flows.orchestration.interrupt import children, end_processes
from flows.orchestration.new_database import ready
from flows.orchestration.own_server import HOST
from flows.orchestration.showing import ADDRESS
from flows.orchestration.web import shown
from flows.store.locks import locked
from flows.tethered import tethered
from flows.unfinished import at_end

DATABASE = "serve.db"  # not that of the servers which single commands start and end
STARTING = 180.0  # seconds within which the server has to answer
RESTART_PAUSE = 5.0  # seconds before a process that died is started again
GRACE = 10.0  # seconds for runs to end when they are told to
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux's prctl

logger = logging.getLogger(__name__)


def serve(folder: Path, schedules: Path, port: int, runs: int, notify: str | None) -> Never:
    """Runs the flows by their schedules until a signal comes.

    Args:
        folder: where inbox, runs, models and scores are; it must exist.
        schedules: a file of deployments, flows/prefect.yaml or a copy of it.
        port: of Prefect's server; the runs and reports are shown at the next one.
        runs: at a time.
        notify: a block of the server as TYPE/NAME, which is told of failure, drift and promotion.

    Raises:
        FlowError: the server does not answer, or does not take the deployments.
        InputError: the schedules are none, a port is not free, another one serves from the same database, or there is
            no such block.
        OSError: there is no such folder or file.
    """
    schedules = schedules.absolute()
    pools = _pools(schedules)
    _require_free(port)
    _require_free(port + 1)
    os.chdir(folder)
    os.environ.update(_environment(port))
    # Runs that lose the worker become children of this process, and are found at the end.
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    kept: list[Kept] = []
    with (
        _alone(Path(os.environ["PREFECT_HOME"])),
        at_end(partial(_end_all, kept)),
        shown(Path(), port + 1),
    ):
        ready(Path(os.environ["PREFECT_HOME"], DATABASE))
        kept.append(Kept("server", _server(port)))
        kept[0].wait_until_it_answers(port)
        # Imported here, when the environment is settled that Prefect reads.
        from flows.orchestration.deployment import crash_what_died, deploy

        crash_what_died(pools)
        deploy(schedules, pools, notify)
        kept += [Kept("worker", _worker(pool, runs)) for pool in pools]
        threading.Thread(target=_print_events, daemon=True).start()
        typer.echo(f"Prefect: http://{HOST}:{port}  runs: http://{HOST}:{port + 1}")
        _keep(kept)


class Kept:
    """A process that is started again where it dies, and that does not outlive this one."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = tethered(command, signal.SIGTERM)
        self.process = Popen(self.command)

    def revive(self) -> None:
        """Starts it again if it has died."""
        if (code := self.process.poll()) is not None:
            logger.warning("the %s ended with code %d, and is started again", self.name, code)
            time.sleep(RESTART_PAUSE)
            self.process = Popen(self.command)

    def wait_until_it_answers(self, port: int) -> None:
        """Raises FlowError where Prefect's server does not answer in time."""
        end = time.monotonic() + STARTING
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urlopen(f"http://{HOST}:{port}/api/health", timeout=5) as answer:
                    if answer.status == HTTPStatus.OK:
                        return
            except (URLError, OSError):
                time.sleep(0.3)
        raise FlowError(f"Prefect's server does not answer at port {port}; its own lines say why")


def _pools(schedules: Path) -> list[str]:
    """The work pools of a file of deployments.

    Raises:
        InputError: it is no such file.
    """
    with schedules.open(encoding="utf-8") as file:
        try:
            content = yaml.safe_load(file)
            return sorted({each["work_pool"]["name"] for each in content["deployments"]})
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise InputError(
                f"--schedules must be a prefect.yaml whose deployments have a work_pool with a name, "
                f"{schedules} is none: {error}"
            ) from error


def _require_free(port: int) -> None:
    with socket.socket() as test:
        test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            test.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"--port must be free, and the one after it, {port} is not: {error.strerror}"
            ) from error


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keeps the others away that would take what runs in the database for dead, and the deployments for theirs."""
    with locked(home, wait=False) as is_free:
        if not is_free:
            raise InputError(
                f"PREFECT_HOME must name a folder that no other serve has in use, got: {home}"
            )
        yield


def _environment(port: int) -> dict[str, str]:
    """What the processes, this one among them, have to know; what has a default may be set by whoever starts it."""
    api = f"http://{HOST}:{port}/api"
    home = Path(os.environ.setdefault("PREFECT_HOME", str(cache_folder() / "prefect")))
    home.mkdir(parents=True, exist_ok=True)
    defaults = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home.absolute()}/{DATABASE}",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
        # What is older goes, so that the database stays as large as a month is.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86400),
        "PREFECT_WORKER_QUERY_SECONDS": "5",
    }
    fixed = {
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,
        ADDRESS: f"http://{HOST}:{port + 1}",
        "PWD": os.getcwd(),
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()} | fixed


def _server(port: int) -> list[str]:
    app = ["--factory", "flows.orchestration.loopback:prefect_server", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", *app, "--host", HOST, "--port", str(port)]


def _worker(pool: str, runs: int) -> list[str]:
    command = [sys.executable, "-m", "prefect", "worker", "start"]
    return [*command, "--pool", pool, "--type", "process", "--limit", str(runs)]


def _keep(kept: list[Kept]) -> Never:
    while True:
        for each in kept:
            each.revive()
        time.sleep(1)


def _end_all(kept: list[Kept]) -> None:
    """Ends the runs first, so that Prefect's server can take note, then the workers and the server."""
    own = [each.process.pid for each in kept]
    # Also what is a child of this process since its worker died.
    runs = [pid for pid in children(os.getpid()) if pid not in own]
    end_processes([*runs, *(pid for worker in own[1:] for pid in children(worker))], GRACE)
    end_processes(own[1:], GRACE)
    end_processes(children(os.getpid()), GRACE)


def _print_events() -> None:
    """Prints a line for each run that fails, and for what has drifted or was promoted."""
    while True:
        try:
            asyncio.run(_print_events_of_now())
        except Exception as error:  # the server is away, and comes again
            logger.debug("no events: %s", error)
        time.sleep(RESTART_PAUSE)


async def _print_events_of_now() -> None:
    from prefect.events.clients import get_events_subscriber
    from prefect.events.filters import EventFilter, EventNameFilter

    from flows.orchestration.automations import TOLD

    names = sorted(set.union(*TOLD.values()))
    wanted = EventFilter(event=EventNameFilter(name=names))
    async with get_events_subscriber(wanted, reconnect_on_clean_close=True) as events:
        async for event in events:
            print(_line(event.event, event.resource.name or event.resource.id, event.payload))


def _line(event: str, name: str, payload: dict[str, Any]) -> str:
    reason = payload.get("reason") or payload.get("validated_state", {}).get("message") or ""
    return f"{event} {name}: {reason}"
