"""How long the command line takes to start: `make bench-startup`, some two minutes on two free cores.

Every figure is the median of runs that take turns, each in a process of its own: seconds on the clock, and those of the
CPU, which other work on the machine hardly changes. The server of a job counts as a part of it, one at hand does not.
"""

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.request import urlopen

PYTHON = [sys.executable, "-c"]
RNNFAST = [sys.executable, "-m", "flows"]
HELP, TORCH, IMPORT = "rnnfast --help", "import torch", "import rnnfast"
NEW, OWN, AT_HAND = (
    "three rows, a new PREFECT_HOME",
    "three rows, Prefect embedded",
    "three rows, a Prefect server at hand",
)
BARS = {HELP: 0.25, IMPORT: 0.1, OWN: 4.0, AT_HAND: 3.0}
"""Seconds on the clock; of the import those over torch's."""

Took = tuple[float, float]
"""Seconds on the clock and of the CPU."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures as a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory() as folder:
        print(table(measured(Path(folder), rounds)))


def measured(folder: Path, rounds: int) -> dict[str, list[Took]]:
    """What each start took, round by round."""
    own = {"PREFECT_HOME": str(folder / "home"), "RNNFAST_CACHE": str(folder / "cache")}
    training = ["reviews", "--dataset", "sample", "--epochs", "1", "--output", str(folder / "run")]
    took([*RNNFAST, *training], own)
    (folder / "three.csv").write_text("text\na good one\na bad one\nneither\n")
    found: dict[str, list[Took]] = {name: [] for name in (HELP, TORCH, IMPORT, NEW, OWN, AT_HAND)}
    with server(folder) as address:
        for number in range(rounds):
            homes = {
                NEW: own | {"PREFECT_HOME": str(folder / f"home-{number}")},
                OWN: own,
                AT_HAND: own | {"PREFECT_API_URL": address},
            }
            found[HELP].append(took([*RNNFAST, "--help"], own))
            for name in (TORCH, IMPORT):
                found[name].append(took([*PYTHON, name], own))
            for name, environment in homes.items():
                output = folder / "scores" / f"{number}-{len(found[name])}-{len(name)}"
                found[name].append(took([*RNNFAST, *_score(folder, output)], environment))
    return found


def took(command: Sequence[str], environment: Mapping[str, str]) -> Took:
    """What a command takes, with the processes that it waits for; raises CalledProcessError where it fails."""
    before, started = _cpu(), time.perf_counter()
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    return time.perf_counter() - started, _cpu() - before


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a Prefect server with a home of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["prefect", "server", "start", "--no-ui", "--port", str(port)]
    own = {"PREFECT_HOME": str(folder / "server"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}/api"
        while not _answers(address):
            if process.poll() is not None:
                raise RuntimeError(f"Prefect's server ended with code {process.returncode}")
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def table(found: Mapping[str, Sequence[Took]]) -> str:
    """The medians beside the bars, in Markdown."""
    medians = {
        name: [median(part) for part in zip(*runs, strict=True)] for name, runs in found.items()
    }
    medians[IMPORT] = [
        ours - torchs for ours, torchs in zip(medians[IMPORT], medians[TORCH], strict=True)
    ]
    lines = ["| start | median | of the CPU | fastest | bar |", "| --- | --- | --- | --- | --- |"]
    for name, (clock, cpu) in medians.items():
        bar, over = BARS.get(name), " over torch" if name == IMPORT else ""
        aim = "" if bar is None else f"{bar:g} s" + (", missed" if clock > bar else "")
        fastest = "" if over else f"{min(clock for clock, _ in found[name]):.2f} s"
        lines.append(f"| {name}{over} | {clock:.2f} s | {cpu:.2f} s | {fastest} | {aim} |")
    return "\n".join(lines)


def _score(folder: Path, output: Path) -> list[str]:
    paths = {"--model": folder / "run", "--input": folder / "three.csv", "--output": output}
    return ["score", *(str(each) for pair in paths.items() for each in pair)]


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
