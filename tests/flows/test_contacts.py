"""Jobs on files of this machine ask nobody beyond it: all processes of a job are watched at the C library."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compiled import ROOT, made, read_by

SOURCE = ROOT / "tests/csrc/contacts.cpp"
ASKS = """
import socket
from contextlib import suppress
with suppress(OSError):
    socket.getaddrinfo("name.invalid", 80)
for kind, family, address in (
    (socket.SOCK_STREAM, socket.AF_INET, ("127.0.0.1", 9)),
    (socket.SOCK_DGRAM, socket.AF_INET, ("192.0.2.1", 9)),
    (socket.SOCK_DGRAM, socket.AF_INET6, ("2001:db8::1", 9)),
):
    with suppress(OSError), socket.socket(family, kind) as one:
        one.connect(address)
"""


@pytest.fixture(scope="module")
def watch() -> Path:
    library, _ = made(
        "contacts", ".so", ["g++", "-O1", "-shared", "-fPIC", SOURCE, "-ldl"], read_by(SOURCE)
    )
    return library


def contacts(watch: Path, tmp_path: Path, *command: str | Path) -> list[str]:
    """Whom a command and all that it starts have asked."""
    found = tmp_path / "contacts"
    ended = subprocess.run(
        [sys.executable, *command],
        env={
            **os.environ,
            "LD_PRELOAD": str(watch),
            "CONTACTS": str(found),
            "PREFECT_HOME": str(tmp_path / "prefect"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return found.read_text().splitlines() if found.exists() else []


def test_the_watch_sees_names_and_addresses(watch: Path, tmp_path: Path) -> None:
    name, address, *more = contacts(watch, tmp_path, "-c", ASKS)
    assert (name, address) == ("getaddrinfo name.invalid", "connect 192.0.2.1")
    assert more in (["connect 2001:db8::1"], [])  # there are machines without IPv6


def test_training_and_scoring_ask_nobody(
    watch: Path, tmp_path: Path, tiny: list[str], reviews_csv: Path
) -> None:
    run = tmp_path / "run"
    train = ["reviews", "--dataset", reviews_csv, "--no-gate", "--output", run, *tiny]
    assert contacts(watch, tmp_path, "-m", "flows", *train) == []
    score = ["score", "--model", run, "--input", reviews_csv, "--workers", "2"]
    assert contacts(watch, tmp_path, "-m", "flows", *score, "--output", tmp_path / "scores") == []
