"""A job starts fast: its server starts beside its imports, and it imports what it uses. Nothing is lost for that.

The clock of a busy machine says little, so the bounds are on seconds of the CPU, and generous; `make bench-startup`
measures.
"""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import startup
from flows.errors import WorkerError
from flows.orchestration.own_server import OwnServer

CPU = 20.0  # seconds of a job and its server, three times what they take on two free cores
UNUSED = ("prefect.server", "sqlalchemy", "alembic", "uvicorn", "docket", "sklearn", "ray", "moto", "pandas",
          "matplotlib.pyplot", "torch._dynamo", "torch._inductor")  # fmt: skip

# Runs a command as `rnnfast` does, and tells what it took and had loaded, at its end and when it started its server.
WATCHED = """
import atexit, json, resource, sys
before = []
def watch(event, arguments):
    if event == "subprocess.Popen" and "own_server" in arguments[1][-2]:
        before.extend(name for name in ("torch", "prefect", "pyarrow") if name in sys.modules)
sys.addaudithook(watch)
def tell():
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    cpu = sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))
    loaded = [name for name in {unused} if name in sys.modules]
    open({told!r}, "w").write(json.dumps([cpu, before, loaded]))
from flows.__main__ import main
atexit.register(tell)
main()
"""


def test_a_job_imports_what_it_uses_and_leaves_all_in_the_database(
    run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "three.csv").write_text("text\na good one\na bad one\nneither\n")
    paths = {"--model": run_dir, "--input": tmp_path / "three.csv", "--output": tmp_path / "out"}
    ended = subprocess.run(
        [
            *(sys.executable, "-c"),
            WATCHED.format(unused=UNUSED, told=str(tmp_path / "told")),
            *("score", *(str(each) for pair in paths.items() for each in pair)),
        ],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"PREFECT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    cpu, before, loaded = json.loads((tmp_path / "told").read_text())
    assert before == []
    assert loaded == []
    assert cpu < CPU
    with closing(sqlite3.connect(tmp_path / "home" / "prefect.db")) as database:
        for table in ("flow_run", "task_run"):
            states = database.execute(f"SELECT state_name FROM {table}").fetchall()
            assert states == [("Completed",)]
        lines = "\n".join(line for (line,) in database.execute("SELECT message FROM log"))
        assert "checks passed" in lines
        assert "Finished in state Completed()" in lines
        keys = {key for (key,) in database.execute("SELECT key FROM artifact")}
        assert {"score-figures", "score-report", "scoring"} <= keys
        events = {event for (event,) in database.execute("SELECT event FROM events")}
        assert {"prefect.flow-run.Completed", "prefect.task-run.Completed"} <= events


def test_a_server_that_dies_at_its_start_is_told_of() -> None:
    server = OwnServer()
    server._process.kill()
    server.go()
    with pytest.raises(WorkerError, match="must start, it ended with code -9: most likely"):
        server.wait(60)
    server.stop()


def test_a_server_that_nobody_needs_ends_unheard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    server = OwnServer()
    assert server._process.stdin is not None
    server._process.stdin.close()
    assert server._process.wait(60) == 0
    assert list(tmp_path.glob("*.db")) == []


def test_the_benchmark_sets_medians_beside_bars() -> None:
    found = {
        startup.HELP: [(0.3, 0.2), (0.1, 0.1), (0.2, 0.1)],
        startup.TORCH: [(1.0, 1.0)] * 3,
        startup.IMPORT: [(1.2, 1.1)] * 3,
    }
    assert startup.table(found).splitlines()[2:] == [
        "| rnnfast --help | 0.20 s | 0.10 s | 0.10 s | 0.25 s |",
        "| import torch | 1.00 s | 1.00 s | 1.00 s |  |",
        "| import rnnfast over torch | 0.20 s | 0.10 s |  | 0.1 s, missed |",
    ]
