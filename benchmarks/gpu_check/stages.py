"""Stages that are run one after the other, each within its time: one that fails or hangs costs the others nothing."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Stage(NamedTuple):
    """What is run, in how many seconds at least; what the stages before leave of theirs is its own too."""

    name: str
    command: Sequence[str]
    seconds: float
    environment: Mapping[str, str] = {}


class Outcome(NamedTuple):
    """What came of a stage: "passed", "failed" or "timed out", the seconds that it took, and its last line."""

    name: str
    result: str
    seconds: float
    allowed: float
    said: str


def run(
    stages: Sequence[Stage],
    folder: Path,
    total: float,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> list[Outcome]:
    """Runs all stages, what each says into `<name>.log` of the folder.

    Args:
        stages: in their order.
        folder: which is there.
        total: seconds for all of them; when these are over, the stages that are left are "not run".
        on_outcome: called after each stage.
    """
    deadline = time.monotonic() + total
    outcomes = []
    for stage, allowed in _with_time(stages, deadline):
        outcomes.append(_run_one(stage, folder / f"{stage.name}.log", allowed))
        on_outcome(outcomes[-1])
    return outcomes


def _with_time(stages: Sequence[Stage], deadline: float) -> Iterator[tuple[Stage, float]]:
    """Each stage with all the time that the ones behind it do not need; where that is too little for all, its share."""
    for number, stage in enumerate(stages):
        later = sum(each.seconds for each in stages[number + 1 :])
        left = deadline - time.monotonic()
        yield stage, max(left - later, left * stage.seconds / (stage.seconds + later))


def _run_one(stage: Stage, log: Path, allowed: float) -> Outcome:
    started = time.monotonic()
    if allowed <= 0:
        return Outcome(stage.name, "not run", 0.0, 0.0, "no time was left")
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                stage.command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | stage.environment,
                start_new_session=True,  # so that what it has started ends with it
            )
        except OSError as error:
            return Outcome(stage.name, "failed", 0.0, allowed, str(error))
        try:
            result = "failed" if process.wait(allowed) else "passed"
        except subprocess.TimeoutExpired:
            result = "timed out"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = log.read_text("utf-8", "replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return Outcome(stage.name, result, time.monotonic() - started, allowed, said)
