"""A measurement in a process of its own, with so many cores and, in every library, so many threads.

The parent asks with `call`; the child is this module run as a program. Arguments and result are JSON.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.parity import MismatchError

ROOT = Path(__file__).parent.parent


def call(measure: Callable[..., Any], threads: int, /, **arguments: Any) -> Any:
    """What a function of a module of this package returns, run in a new process.

    Raises:
        MismatchError: it was raised there.
        RuntimeError: the process failed otherwise; what it said went to standard error.
    """
    pinned = cores()[:threads]
    if len(pinned) < threads:
        raise ValueError(f"threads must be at most {len(cores())}, the cores here, got: {threads}")
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        say(f"{measure.__module__} {' '.join(map(str, arguments.values()))}"[:79])
        command = [sys.executable, "-m", "benchmarks.isolation", measure.__module__]
        command += [measure.__name__, json.dumps(arguments), str(answer)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | limits(threads),
            preexec_fn=lambda: os.sched_setaffinity(0, pinned),
            check=False,
        )
        if done.returncode or not answer.exists():
            raise RuntimeError(
                f"{measure.__module__}.{measure.__name__}({arguments}) ended with exit code {done.returncode}"
            )
        found = json.loads(answer.read_text())
    if "mismatch" in found:
        raise MismatchError(found["mismatch"])
    return found["result"]


def say(what: str) -> None:
    """On a terminal, the one line that tells what is under way; "" takes it away."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def limits(threads: int) -> dict[str, str]:
    """The environment that keeps the libraries to so many threads; they read it when they are imported."""
    libraries = ("OMP", "MKL", "OPENBLAS")
    return {
        **{f"{library}_NUM_THREADS": str(threads) for library in libraries},
        "NPROC": str(threads),  # XLA's thread pools
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}",
        "JAX_PLATFORMS": "cpu",
        "TORCHINDUCTOR_CACHE_DIR": str(ROOT / "build" / "inductor"),
    }


def cores() -> list[int]:
    """The cores that this process may use, all first hardware threads before any second one."""
    return sorted(os.sched_getaffinity(0), key=lambda core: (_place_on_its_core(core), core))


def _place_on_its_core(core: int) -> int:
    siblings = Path(f"/sys/devices/system/cpu/cpu{core}/topology/core_cpus_list")
    if not siblings.exists():
        return 0
    listed: list[int] = []
    for span in siblings.read_text().strip().split(","):
        first, _, last = span.partition("-")
        listed += range(int(first), int(last or first) + 1)
    return listed.index(core)


def _serve(module: str, name: str, arguments: str, answer: str) -> None:
    measure = getattr(importlib.import_module(module), name)
    try:
        found = {"result": measure(**json.loads(arguments))}
    except MismatchError as mismatch:
        found = {"mismatch": str(mismatch)}
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    _serve(*sys.argv[1:])
