"""Runs a command and watches the memory of all its processes."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

EVERY = 0.2  # seconds from one look at the memory to the next


def run(
    command: list[str], environment: Mapping[str, str] | None = None, watched: bool = False
) -> dict[str, Any]:
    """What a command prints last, as JSON; where it is watched, which takes time from it, with `peak`.

    That is the most bytes that it and its children had in memory; pages that several of them share are counted once.
    Raises CalledProcessError where it fails.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    peak = 0
    while watched and process.poll() is None:
        peak = max(peak, _bytes(process.pid))
        time.sleep(EVERY)
    output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    result: dict[str, Any] = json.loads(output.splitlines()[-1]) | (
        {"peak": peak} if watched else {}
    )
    return result


def _bytes(root: int) -> int:
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may end while the list is read
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(map(_share, family))


def _share(pid: int) -> int:
    """The bytes of a process, shared pages divided among those that share them."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
