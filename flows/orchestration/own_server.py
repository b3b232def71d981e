"""Prefect's embedded server: a process beside the job, which starts when the job does, and ends with it.

Left to itself, Prefect imports the whole server into the job as well, and only then starts it, and asks for two
minutes whether it is there where it has died. Here the job opens the port and hands it over: it need not ask, since
what it sends waits at the port, and where the server dies, the port is shut.
"""

import atexit
import gc
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from socket import create_server, socket
from typing import BinaryIO

from flows.errors import WorkerError
from flows.tethered import tethered

HOST = "127.0.0.1"
_MIGRATE, _AS_IT_IS = b"m", b"a"
STOP_PATIENCE = 5.0  # seconds in which it writes what it has taken into its database, and ends


def own_server() -> "OwnServer | None":
    """A server whose process starts, unless one is chosen, as far as that is known without Prefect."""
    settings = sys.modules.get("prefect.settings")
    if "PREFECT_API_URL" in os.environ or (settings and settings.get_current_settings().api.url):
        return None
    with suppress(OSError):  # what is in the way is looked for later, and told
        return OwnServer()
    return None


class OwnServer:
    """A server whose process imports what it needs at once, but opens no database before `go`."""

    def __init__(self) -> None:
        self._stderr = os.fdopen(os.memfd_create("stderr"), "w+b")
        with create_server((HOST, 0), backlog=100) as port:
            self._port: int = port.getsockname()[1]
            code = "from flows.orchestration.own_server import serve; serve()"
            self._process = subprocess.Popen(
                tethered([sys.executable, "-c", code, str(port.fileno())], signal.SIGTERM),
                pass_fds=[port.fileno()],
                stdin=subprocess.PIPE,
                stderr=self._stderr,
                env=os.environ
                | {
                    "PREFECT_UI_ENABLED": "0",
                    # No job asks for one; of a new home that would take a second.
                    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                # Ctrl-C is for the job, which tells the server how it ended before it ends it.
                process_group=0,
            )
        self.address = f"http://{HOST}:{self._port}/api"
        # The queues of logs and events, which come to be later, are emptied before.
        atexit.register(self.stop)

    def go(self, *, migrate: bool = True) -> None:
        """Has it open its database, as it is or migrated as the settings say, and answer as soon as it can."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died, which shows when it does not answer
            self._process.stdin.write(_MIGRATE if migrate else _AS_IT_IS)
            self._process.stdin.flush()

    def wait(self, seconds: float) -> None:
        """Waits until it answers.

        Raises:
            WorkerError: it has died, or does not answer within so many seconds.
        """
        connection = HTTPConnection(HOST, self._port, timeout=seconds)
        try:
            connection.request("GET", "/api/health")
            status = connection.getresponse().status
        except TimeoutError:
            raise _refusal(f"it does not answer within {seconds:g} s") from None
        except (OSError, HTTPException):  # nobody has the port any more
            code = self._process.wait()
            why = _reason(self._stderr) or "most likely since its database cannot be used"
            raise _refusal(f"it ended with code {code}: {why}") from None
        finally:
            connection.close()
        if status != 200:
            raise _refusal(f"it answers with status {status}")

    def stop(self) -> None:
        """Ends it, which has it write what it has taken into its database."""
        atexit.unregister(self.stop)
        self._process.terminate()
        try:
            self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve() -> None:
    """The server: its port is the file descriptor that the command names."""
    gc.disable()  # of what imports and routes are made of, nothing is ever freed
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_API_DATABASE_MIGRATE_ON_START, temporary_settings

    from flows.orchestration.loopback import OnlyFromHere

    order = sys.stdin.buffer.read(1)
    if not order:
        return
    # Also without anything to migrate, to find that out takes longer than all else from here on.
    as_it_is = {PREFECT_API_DATABASE_MIGRATE_ON_START: False} if order == _AS_IT_IS else {}
    app = OnlyFromHere(create_app(ephemeral=True))
    config = uvicorn.Config(app, log_level="error", lifespan="on")
    gc.freeze()
    gc.enable()
    with temporary_settings(as_it_is):
        uvicorn.Server(config).run([socket(fileno=int(sys.argv[1]))])


def _reason(stderr: BinaryIO) -> str:
    """The last error that is told, without the calls that led to it, which are indented."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if re.match(r"[\w.]+: ", line)), "")


def _refusal(what: str) -> WorkerError:
    return WorkerError(
        f"Prefect's embedded server must start, {what}; correct the settings PREFECT_SERVER_..., or set "
        "PREFECT_API_URL to a server that runs"
    )
