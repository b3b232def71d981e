"""What surrounds a job: a proxy, a home, a profile, a server. It works, or is refused in two lines and five seconds.

Of each kind one case is a whole job, in a process of its own; the others ask in this process what the job asks.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket

import pytest

from flows.errors import InputError
from flows.executors import cores
from flows.orchestration import surroundings
from flows.orchestration.surroundings import require_answer, require_machine
from tests.flows.homes import prefect_home

SECONDS = 5.0
BUSY = 3.0  # times as long the clock may run on a machine that is busy with other tests, at least
DEAD = "http://127.0.0.1:9"  # where nobody listens

Ended = subprocess.CompletedProcess[str]
Score = Callable[..., Ended]


@pytest.fixture
def score(run_dir: Path, tmp_path: Path) -> Score:
    """Scores two reviews in a process of its own; what is given is its environment, None: unset."""
    folder = tmp_path / "été"
    folder.mkdir()
    (folder / "ré.csv").write_text("text\na good one\na bad one\n")

    def call(
        prefix: tuple[str, ...] = (), options: tuple[str, ...] = (), **environment: str | None
    ) -> Ended:
        home = str(prefect_home(tmp_path / "home"))
        own = {"PREFECT_HOME": home, "OMP_NUM_THREADS": "1", "COLUMNS": "500"}
        given = os.environ | own | environment
        files = ["--model", run_dir, "--input", folder / "ré.csv", "--output", folder / "out"]
        return subprocess.run(
            [*prefix, sys.executable, "-m", "flows", "score", *map(str, files), *options],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=200,
            env={name: value for name, value in given.items() if value is not None},
        )

    return call


def assert_works(ended: Ended, *parts: str) -> None:
    assert ended.returncode == 0, ended.stderr
    assert "Report: " in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr


def assert_told(started: float, ended: Ended, *parts: str) -> None:
    """Code 2 and at most two lines, of which the last is the error with these parts."""
    seconds = time.monotonic() - started
    lines = ended.stderr.splitlines()
    assert ended.returncode == 2, ended.stderr
    assert len(lines) <= 2, ended.stderr
    assert lines[-1].startswith("Error: ")
    for part in parts:
        assert part in lines[-1]
    waiting = os.getloadavg()[0] / cores()  # processes of this last minute for each core
    assert seconds < max(BUSY, waiting) * SECONDS, seconds


@pytest.mark.parametrize("case", [str.upper, pytest.param(str.lower, marks=pytest.mark.soak)])
def test_what_is_on_loopback_goes_through_no_proxy(
    score: Score, case: Callable[[str], str]
) -> None:
    names = ("http_proxy", "https_proxy", "all_proxy")
    own = {"no_proxy": None, "NO_PROXY": None, case("no_proxy"): "corp.example"}
    assert_works(score(**{case(name): DEAD for name in names}, **own))


def test_nor_does_what_ray_has_there(score: Score) -> None:
    pytest.importorskip("ray")
    names = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    proxies = {case(name): DEAD for name in names for case in (str.upper, str.lower)}
    assert_works(score(options=("--engine", "ray", "--workers", "1"), **proxies))


def test_the_own_exceptions_from_the_proxy_stay() -> None:
    code = "import os, flows; print(os.environ['NO_PROXY'], os.environ['no_proxy'])"
    for given, expected in (
        ({"NO_PROXY": "corp.example"}, "corp.example,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "a", "no_proxy": "b, 127.0.0.1"}, "a,b,127.0.0.1,localhost,::1"),
        ({"no_proxy": "*"}, "*"),
        ({}, "localhost,127.0.0.1,::1"),
    ):
        rest = {k: v for k, v in os.environ.items() if k.lower() != "no_proxy"}
        told = subprocess.run(
            [sys.executable, "-c", code],
            env=rest | given,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.split() == [expected, expected]


def test_no_client_of_the_job_asks_a_proxy_for_loopback() -> None:
    """Nor do urllib, httpx, and what Ray's and the browser's sockets go by."""
    code = """
import flows, httpx, urllib.request
assert urllib.request.proxy_bypass("127.0.0.1") and urllib.request.proxy_bypass("localhost")
for host in ("127.0.0.1:4200", "localhost:4200", "[::1]:4200"):
    with httpx.Client() as client:
        assert client._transport_for_url(httpx.URL(f"http://{host}/api")) is client._transport, host
        assert client._transport_for_url(httpx.URL("http://corp/api")) is not client._transport
"""
    proxies = {"HTTP_PROXY": DEAD, "ALL_PROXY": DEAD}
    subprocess.run([sys.executable, "-c", code], env=os.environ | proxies, check=True)


@pytest.mark.parametrize(
    "home", ["/proc/nowhere", pytest.param("/dev/null", marks=pytest.mark.soak)]
)
def test_a_home_that_cannot_be_written(score: Score, tmp_path: Path, home: str) -> None:
    own = {"RNNFAST_CACHE": None, "XDG_CACHE_HOME": None, "PREFECT_HOME": None}
    prefect_home(tmp_path / f"rnnfast-{os.getuid()}" / "prefect")
    assert_works(score(HOME=home, TMPDIR=str(tmp_path), **own))


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which takes root")
def test_a_home_of_somebody_else(score: Score, run_dir: Path, tmp_path: Path) -> None:
    for folder in (path for path in tmp_path.rglob("*") if path.is_dir()):
        folder.chmod(0o777)
    (tmp_path / "home").mkdir(mode=0o700)
    started = time.monotonic()
    prefix = ("setpriv", "--reuid=65534", "--clear-groups")
    for parent in (tmp_path, *tmp_path.parents):
        if parent.name.startswith(("pytest-", "popen-")) or parent == tmp_path:
            parent.chmod(0o777)
    ended = score(prefix, RNNFAST_CACHE=str(tmp_path / "cache"), TMPDIR="/tmp")
    if "Permission denied" in ended.stderr and ended.returncode not in (0, 2):
        pytest.skip("nobody may not read the environment")
    assert_told(started, ended, "PREFECT_HOME", "Permission denied", "set PREFECT_HOME to another")


def test_a_locale_that_is_not_utf_8(score: Score) -> None:
    assert_works(score(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"))


class _Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path begins with."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """The address of a server that is none of Prefect."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        (f"{DEAD}/api", [f"{DEAD}/api", "Connection refused"]),
        ("hello", ["'hello'", "http://"]),
    ],
)
def test_a_server_that_is_none(score: Score, address: str, parts: list[str]) -> None:
    started = time.monotonic()
    ended = score(PREFECT_API_URL=address)
    assert_told(started, ended, "PREFECT_API_URL must be the address", "unset it", *parts)


def test_a_server_that_does_not_answer_is_waited_for_within_a_limit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    assert surroundings.ANSWER_PATIENCE >= 30
    monkeypatch.setattr(surroundings, "ANSWER_PATIENCE", 0.4)
    monkeypatch.setattr(surroundings, "_NOTICE", 0.1)
    with socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with (
            temporary_settings({PREFECT_API_URL: address}),
            pytest.raises(InputError, match=r"PREFECT_API_URL .*unset it") as caught,
        ):
            require_answer(address)
    assert_names(caught.value, [address, "no answer within 0.4 s"])
    assert f"Waiting up to 0.4 s for the Prefect server at {address}" in caplog.text


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("http://no.such.host.invalid/api", ["no.such.host.invalid", "known"]),
        ("{page}/404/api", ["status 404"]),
        ("{page}/401/api", ["status 401", "PREFECT_API_KEY"]),
        ("{page}/403/api", ["status 403", "PREFECT_API_KEY"]),
        ("{page}/503/api", ["status 503"]),
        ("{page}/200/api", ["/200/api"]),
    ],
)
def test_an_answer_that_is_none_of_prefect(page: str, address: str, parts: list[str]) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    address = address.format(page=page)
    with (
        temporary_settings({PREFECT_API_URL: address}),
        pytest.raises(
            InputError, match=r"PREFECT_API_URL must be the address .*unset it"
        ) as caught,
    ):
        require_answer(address)
    assert_names(caught.value, parts)


def test_a_server_behind_a_proxy_that_is_dead(score: Score) -> None:
    started = time.monotonic()
    ended = score(PREFECT_API_URL="http://prefect.example/api", http_proxy=DEAD, HTTP_PROXY=DEAD)
    assert_told(started, ended, "PREFECT_API_URL", f"through HTTP_PROXY {DEAD}")


def test_a_key_is_not_shown(score: Score, page: str) -> None:
    started = time.monotonic()
    address = page.replace("http://", "http://user:secret@")
    ended = score(PREFECT_API_URL=f"{address}/404/api")
    assert_told(started, ended, "status 404")
    assert "secret" not in ended.stderr


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        ({"PREFECT_PROFILE": "nope"}, ["PREFECT_PROFILE must name a profile", "'nope'"]),
        ({"PREFECT_HOME": "/proc/nowhere"}, ["PREFECT_HOME", "/proc/nowhere", "set PREFECT_HOME"]),
        ({"all_proxy": "socks5h://a:secret@h:1"}, ["ALL_PROXY", "socks5h://h:1", "socksio"]),
        ({"PREFECT_LOGGING_LEVEL": "foo"}, ["PREFECT_LOGGING_LEVEL", "'FOO'"]),
        ({"PREFECT_SERVER_EPHEMERAL_ENABLED": "false"}, ["PREFECT_API_URL", "it is not set"]),
    ],
)
def test_a_setting_that_cannot_be_used(
    score: Score, environment: dict[str, str], parts: list[str]
) -> None:
    started = time.monotonic()
    ended = score(**environment)
    assert_told(started, ended, *parts)
    assert "secret" not in ended.stderr


def assert_names(error: InputError, parts: list[str]) -> None:
    """One line, with these parts."""
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize(
    ("setting", "value", "parts"),
    [
        ("PREFECT_HOME", "/dev/null", ["PREFECT_HOME", "/dev/null"]),
        ("RNNFAST_CACHE", "/proc/nowhere", ["RNNFAST_CACHE", "/proc/nowhere"]),
        ("ALL_PROXY", "socks5://127.0.0.1:9", ["ALL_PROXY", "socks5://127.0.0.1:9", "socksio"]),
        ("HTTPS_PROXY", "foo://bar", ["HTTPS_PROXY", "'foo://bar'"]),
        ("http_proxy", "http://bar:port", ["HTTP_PROXY", "'http://bar:port'"]),
    ],
)
def test_a_setting_that_the_machine_cannot_have(
    setting: str, value: str, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(InputError) as caught:
        require_machine()
    assert_names(caught.value, parts)


def test_a_profile_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profiles.toml").write_text('active = "gone"')
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(InputError) as caught:
        require_machine()
    assert_names(caught.value, ["active in", "profiles.toml", "'gone'"])


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("profiles.toml", "not [ toml", ["PREFECT_PROFILES_PATH", "profiles.toml", "correct or"]),
        ("prefect.db", "no database " * 999, ["prefect.db", "not a database", "PREFECT_HOME"]),
    ],
)
def test_a_home_that_is_broken(
    score: Score, tmp_path: Path, name: str, content: str, parts: list[str]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / name).write_text(content)
    started = time.monotonic()
    assert_told(started, score(), *parts)


@pytest.mark.parametrize(
    "address",
    ["sqlite+aiosqlite:////proc/nowhere/prefect.db", "postgresql+asyncpg://127.0.0.1:9/x"],
)
def test_a_server_of_its_own_that_does_not_start(score: Score, address: str) -> None:
    """Within the time that it takes to start, some six seconds."""
    started = time.monotonic() + SECONDS
    ended = score(PREFECT_SERVER_DATABASE_CONNECTION_URL=address)
    assert_told(started, ended, "Prefect's embedded server must start", "PREFECT_SERVER_...")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_temporary_folder_without_room(score: Score, full_disk: Path) -> None:
    started = time.monotonic()
    ended = score(TMPDIR=str(full_disk))
    assert_told(started, ended, "TMPDIR", str(full_disk), "No space left on device")


@pytest.mark.parametrize("setting", ["PREFECT_HOME", "RNNFAST_CACHE"])
def test_another_folder_without_room(
    full_disk: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting, str(full_disk))
    with pytest.raises(InputError) as caught:
        require_machine()
    assert_names(caught.value, [setting, str(full_disk), "No space left on device"])


def test_a_temporary_folder_that_is_not_there(score: Score) -> None:
    assert_works(score(TMPDIR="/proc/nowhere"))  # there are others
