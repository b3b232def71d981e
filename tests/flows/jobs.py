"""Scoring jobs in processes of their own, which tests disturb, and what is left of them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import REPORT
from flows.parameters import Execution, ScoreRequest
from flows.steps.score import files
from flows.steps.score.job import Summary
from flows.store.outputs import DRIFT, MANIFEST
from flows.tables.columns import Columns
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import build_model
from rnnfast.scoring.scorers import save_run
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.training.settings import TrainingSettings

SHARD_ROWS = 64  # in DRIVER too
WORDS = ["good", "bad", "film", "plot", "and", "not", "very", "the"]
DRIVER = """
import sys
from pathlib import Path
from flows.orchestration.interrupt import ended_by_signals
from flows.parameters import Execution, ScoreRequest
from flows.steps.score.files import score_files
model, input, output, engine, address, workers = sys.argv[1:]
execution = Execution(
    engine=engine, address=address or None, workers=int(workers), shard_rows=64
)
request = ScoreRequest(model=model, input=input, output=output, execution=execution)
with ended_by_signals():
    done = score_files(Path(model), request)
print(done.shards, done.skipped)
"""


def asked(
    model: Path, source: str, columns: Columns | None, output: Path | str, **more: Any
) -> ScoreRequest:
    """What scoring takes."""
    columns = columns or Columns()
    return ScoreRequest(
        model=str(model),
        input=source,
        output=str(output),
        text_column=columns.text,
        id_column=columns.id,
        **more,
    )


def score_files(
    model: Path,
    source: str,
    columns: Columns | None,
    output: Path | str,
    *,
    report: bool = True,
    **more: Any,
) -> Summary:
    """Scores files; `more` are fields of the request."""
    return files.score_files(model, asked(model, source, columns, output, **more), report=report)


@dataclass(frozen=True)
class Job:
    """A model and the reviews for it, 40 shards of which each takes some 20 ms, one of them with a bad row."""

    folder: Path
    shards: int = 40

    @property
    def options(self) -> list[str]:
        """What `score` is given."""
        return ["--model", str(self.folder / "model"), "--input", str(self.folder / "in.csv")]

    def make(self) -> None:
        """Writes the model and the reviews."""
        config = ModelConfig(embedding_size=32, hidden_size=64, sequence_length=300)
        words = Vocabulary(["[UNK]", "pad", *WORDS])
        (self.folder / "model").mkdir(parents=True)
        save_run(
            self.folder / "model",
            build_model(config, len(words)),
            words,
            config=config,
            training=TrainingSettings(),
            labels=("neg", "pos"),
            data={},
        )
        draw = random.Random(0)
        rows = [" ".join(draw.choices(WORDS, k=300)) for _ in range(self.shards * SHARD_ROWS)]
        rows[SHARD_ROWS] = "caf\xe9"  # which is not UTF-8
        (self.folder / "in.csv").write_bytes("\n".join(["text", *rows, ""]).encode("latin-1"))

    def undisturbed(self) -> dict[str, bytes]:
        """The output of this process alone."""
        output = self.folder / "undisturbed"
        execution = Execution(workers=1, shard_rows=SHARD_ROWS)
        done = score_files(
            self.folder / "model", str(self.folder / "in.csv"), None, output, execution=execution
        )
        assert (done.shards, done.rows) == (self.shards, self.shards * SHARD_ROWS - 1)
        return content(output)

    def start(
        self,
        output: Path,
        engine: str,
        address: str = "",
        workers: int = 2,
        prefix: Sequence[str] = (),
    ) -> "Running":
        """Starts scoring without Prefect; `prefix` are words before the command."""
        files = (self.folder / "model", self.folder / "in.csv", output)
        return Running(
            [*prefix, sys.executable, "-c", DRIVER, *map(str, (*files, engine, address, workers))],
            output,
        )


@dataclass
class Running:
    """A job that is under way."""

    command: list[str]
    output: Path
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that started the tests in the background has them ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def workers(self) -> list[int]:
        """The processes that do the items."""
        return [pid for pid in self.all() if is_worker(pid)]

    def all(self) -> list[int]:
        """The processes that came of it."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, parent = path.read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(path.parent.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def wait_for(self, true: Callable[[], object]) -> None:
        """Waits until it is true, or the job has ended."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None and not true():
            assert time.monotonic() < deadline, self.command
            time.sleep(0.002)

    def wait_for_records(self, count: int) -> None:
        """Waits until so many shards are done, or the job has ended."""
        self.wait_for(lambda: len(records(self.output)) >= count)

    def result(self) -> tuple[int, int]:
        """The shards of the job, which has to end well, and how many of them were done before."""
        stdout, stderr = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, stderr
        # Ray may have said before that a machine is lost.
        shards, skipped = map(int, stdout.splitlines()[-1].split())
        return shards, skipped

    def end(self, number: signal.Signals) -> str:
        """Ends it by a signal, and returns what it said on stderr when all that came of it is gone."""
        came = [pid for pid in self.all() if number != signal.SIGKILL or not is_agent(pid)]
        self.process.send_signal(number)
        _, stderr = self.process.communicate(timeout=60)
        deadline = time.monotonic() + 30
        while left := [pid for pid in came if is_running(pid)]:
            assert time.monotonic() < deadline, f"left behind: {[(p, command(p)) for p in left]}"
            time.sleep(0.01)
        return stderr


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder, but for the report, which tells how long a run took."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != REPORT
    }


def records(output: Path) -> dict[Path, int]:
    """The records of the shards that are done, and when they were written, in nanoseconds."""
    found = {}
    for path in output.glob("*.json"):
        if path.name not in (MANIFEST, DRIFT):
            found[path] = path.stat().st_mtime_ns
    return found


def command(pid: int) -> str:
    """How a process was called; empty where it is gone."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_worker(pid: int) -> bool:
    """Whether a process does the items of an executor."""
    return "local import serve" in command(pid) or command(pid).startswith("ray::Runner")


def is_agent(pid: int) -> bool:
    """Whether a process is one of those of Ray that find out late that the rest is gone."""
    return command(pid).startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent"))


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def kill(pid: int) -> None:
    """Kills a process, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
