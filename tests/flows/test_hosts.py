"""Scoring on two machines that cannot reach each other but by one cable: two network namespaces of this one.

Nothing is sent beyond the two. It takes root and `ip` (Debian package: iproute2), and is part of `make soak`.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from jobs import Job, content

pytest.importorskip("ray")

HEAD, OTHER = "10.214.7.1", "10.214.7.2"
# Ray finds out in some seconds instead of a minute that a machine is lost.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_MEMORY_MONITOR": "1",
}
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True)


@pytest.fixture
def spaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces, each with one end of a cable."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip (Debian package: iproute2)")
    names = tuple(f"rnnfast-{os.getpid()}-{end}" for end in "ab")
    try:
        try:
            for name in names:
                ip(f"netns add {name}")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not allowed: {error.stderr.strip()}")
        ip(f"link add rnnfast0 netns {names[0]} type veth peer name rnnfast0 netns {names[1]}")
        for name, address in zip(names, (HEAD, OTHER), strict=True):
            ip(f"-n {name} link set lo up")
            ip(f"-n {name} address add {address}/30 dev rnnfast0")
            ip(f"-n {name} link set rnnfast0 up")
        yield names[0], names[1]
    finally:
        for name in names:
            with suppress(subprocess.CalledProcessError):
                ip(f"netns delete {name}")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of this cluster's own: Ray would take one that it finds in the home, for some of the processes."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture
def nodes(spaces: tuple[str, str], token: None) -> Iterator[list[str]]:
    """One CPU of a Ray cluster in each namespace; yields the words before a command on the head."""
    on_head = ["ip", "netns", "exec", spaces[0]]
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        try:
            for name, words in zip(
                spaces,
                (
                    f"--head --port 6379 --node-ip-address {HEAD} --include-dashboard false "
                    f"--temp-dir {folder}/a",
                    f"--address {HEAD}:6379 --node-ip-address {OTHER} --temp-dir {folder}/b",
                ),
                strict=True,
            ):
                size = "--num-cpus 1 --object-store-memory 80000000"
                started.append(
                    subprocess.Popen(
                        ["ip", "netns", "exec", name, *RAY, *words.split(), *size.split()],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        env=os.environ | IMPATIENT,
                        start_new_session=True,
                    )
                )
                deadline = time.monotonic() + 120
                while cpus(on_head) < len(started):
                    assert time.monotonic() < deadline
            yield on_head
        finally:
            # Also what does not end of itself, or was started by another process than these.
            for process in started:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            for process in started:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
            for name in spaces:
                listed = subprocess.run(
                    ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
                )
                for pid in listed.stdout.split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)


def cpus(on_head: list[str]) -> float:
    """The CPUs that have come together so far."""
    ask = f"import ray; ray.init('{HEAD}:6379'); print(ray.cluster_resources()['CPU'])"
    asked = subprocess.run(
        [*on_head, sys.executable, "-c", ask], capture_output=True, text=True, check=False
    )
    return float(asked.stdout.split()[-1]) if asked.returncode == 0 else 0.0


@pytest.mark.soak
@pytest.mark.parametrize("cut", [False, True])
def test_two_machines(
    spaces: tuple[str, str], nodes: list[str], tmp_path: Path, *, cut: bool
) -> None:
    job = Job(tmp_path / "job", shards=200)
    job.make()
    undisturbed = job.undisturbed()
    running = job.start(tmp_path / "out", "ray", f"{HEAD}:6379", 2, prefix=nodes)
    running.wait_for_records(job.shards // 10)
    hosts = {name for name in spaces if workers_in(name)}
    if cut:
        ip(f"-n {spaces[1]} link set rnnfast0 down")
    started = time.monotonic()
    shards, skipped = running.result()
    print(f"\ntwo machines, cut: {cut}; ended after {time.monotonic() - started:.1f} s,", end="")
    print(f" {skipped} shards done by the lost one and not reported")
    assert hosts == set(spaces), "both have worked"
    assert shards == job.shards
    assert content(tmp_path / "out") == undisturbed


def workers_in(space: str) -> list[str]:
    """The processes in a namespace that do items."""
    listed = subprocess.run(
        ["ip", "netns", "pids", space], capture_output=True, text=True, check=True
    )
    found = []
    for pid in listed.stdout.split():
        with suppress(OSError):
            if Path("/proc", pid, "cmdline").read_text().startswith("ray::Runner"):
                found.append(pid)
    return found
