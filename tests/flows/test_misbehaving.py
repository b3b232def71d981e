"""Downloads that are killed, and object stores that refuse, throttle and cut off: the rows are those of calm."""

import http.client
import http.server
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows.errors import TransferError
from flows.steps.prepare.download import download
from flows.store.storage import Folder, find
from flows.tables.columns import Columns
from flows.tables.files import read_batches
from tests.faults import kills
from tests.flows.test_download import CONTENT, Server, server  # noqa: F401, a fixture

DOWNLOAD = """
import sys
from pathlib import Path
from flows.datasets.base import Archive
from flows.steps.prepare.download import download
print("ready", flush=True)
download(Archive("data.bin", sys.argv[1], sys.argv[3]), Path(sys.argv[2]))
"""
BUSY = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>"
)
STALL = 12.0  # seconds without a byte; a client waits for 3
TEXTS = [f"review {i}" for i in range(200)]


@dataclass
class Proxy:
    """Stands before an object store; `faults` are what it does to the next requests, in turn."""

    behind: str
    faults: list[str] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)  # when, in seconds

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Passes a request on, or does what comes next."""
        self.asked.append(time.monotonic())
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refuse":
            handler.close_connection = True
            return
        if fault == "throttle":
            handler.send_response(503, "Slow Down")
            handler.send_header("Content-Length", str(len(BUSY)))
            handler.end_headers()
            handler.wfile.write(BUSY)
            return
        connection = http.client.HTTPConnection(urlsplit(self.behind).netloc, timeout=60)
        connection.request(handler.command, handler.path, None, dict(handler.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                handler.send_header(name, value)
        handler.end_headers()
        if fault in ("cut", "stall"):
            content = content[: len(content) // 2]
            handler.close_connection = True
        handler.wfile.write(content)
        if fault == "stall":
            handler.wfile.flush()
            time.sleep(STALL)
        connection.close()


@pytest.fixture
def proxy(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    Folder.at(bucket, "--output").write("a.csv", "\n".join(["text", *TEXTS, ""]).encode())
    state = Proxy(os.environ["AWS_ENDPOINT_URL"])

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            with suppress(BrokenPipeError):  # of a client that has read enough
                state.answer(self)

        do_GET = do_HEAD = do  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.server_address[1]}")
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        running.shutdown()


def rows(address: str) -> list[str]:
    [file] = find(address, "--input", None)
    return [
        text
        for batch in read_batches(file, Columns(), "n")
        for text in batch.table["text"].to_pylist()
    ]


@pytest.mark.parametrize("fault", ["refuse", "throttle", "cut", "stall"])
def test_an_object_store_that_fails_for_a_while(bucket: str, proxy: Proxy, fault: str) -> None:
    proxy.faults = [fault] * 2
    assert rows(f"{bucket}/a.csv") == TEXTS
    assert not proxy.faults


def test_an_object_store_is_asked_again_with_growing_waits(bucket: str, proxy: Proxy) -> None:
    [file] = find(f"{bucket}/a.csv", "--input", None)
    again = pickle.loads(pickle.dumps(file))  # as another process has it
    assert again == file
    proxy.faults, proxy.asked = ["throttle"] * 4, []
    assert again.random().read() == "\n".join(["text", *TEXTS, ""]).encode()
    assert not proxy.faults
    # By chance up to 15 s in all, hardly ever below 1 s; with Arrow's own 0.2 s each it is 0.8 s.
    assert proxy.asked[-1] - proxy.asked[0] > 0.9


@pytest.mark.soak
@pytest.mark.faults
def test_an_object_store_that_fails_for_good(bucket: str, proxy: Proxy) -> None:
    [file] = find(f"{bucket}/a.csv", "--input", None)
    proxy.faults, proxy.asked = ["throttle"] * 99, []
    with pytest.raises(TransferError, match=r"a\.csv could not be read"):
        next(read_batches(file, Columns(), "n"))
    assert 2 <= len(proxy.asked) < 99


def kill_downloads(server: Server, folder: Path, times: int) -> None:  # noqa: F811
    """Kills a download at random moments, and has it go on, until it is whole."""
    draw = random.Random(20_26)
    archive = server.archive()
    for turn in range(times):
        place = folder / str(turn // 4)
        command = [
            sys.executable,
            "-c",
            DOWNLOAD,
            str(archive.url),
            str(place),
            str(archive.sha256),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if turn % 4 == 3:
            assert download(archive, place).read_bytes() == CONTENT
            assert [path.name for path in place.rglob("*") if path.is_file()] == ["data.bin"]


@pytest.mark.soak
@pytest.mark.faults
def test_downloads_that_are_killed(server: Server, tmp_path: Path) -> None:  # noqa: F811
    kill_downloads(server, tmp_path, kills("download"))
