"""The machine and the versions behind the figures."""

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import peers
from rnnfast import _C
from rnnfast.nn import ops


def describe(names: list[str], cores: int) -> dict[str, Any]:
    """What the figures depend on: the machine with its `cores`, and the versions of rnnfast and of the named peers."""
    system = _first(r'PRETTY_NAME="(.+)"', "/etc/os-release") or platform.system()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _first(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine(),
        "cores": cores,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{system}, {platform.release()}",
        "target": ops.cpu_target(),
        "compiler": compiler(Path(str(_C.__file__)).read_bytes()),
        "python": platform.python_version(),
        "versions": {name: peers.load(name).version() for name in (peers.OURS, *names)},
    }


def compiler(extension: bytes) -> str:
    """The compiler of an extension by what it left in the file."""
    left = re.search(rb"GCC: \([^)]*\) [\d.]+|[\w ]*clang version [\d.]+", extension)
    return left[0].decode() if left else "unknown"


def _first(pattern: str, path: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return found[1] if found else None
