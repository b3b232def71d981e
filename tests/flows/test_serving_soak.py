"""What `python -m flows serve` stands: runs and workers that are killed, and a month of runs."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from flows.orchestration import automations
from flows.orchestration.interrupt import children
from flows.store.registry import Model
from rnnfast.scoring.scorers import load_scorer
from tests.faults import kills
from tests.flows.served import NEVER, Served, served_in

pytestmark = pytest.mark.soak
KILLS = int(os.environ.get("RNNFAST_SOAK_KILLS", "10"))
RUNS = int(os.environ.get("RNNFAST_SOAK_RUNS", "720"))
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
MOMENTS = random.Random(20_26)


def test_trainings_that_are_killed(tmp_path: Path) -> None:
    with served_in(tmp_path / "served", NEVER, NEVER) as one:
        model = Model(one.folder / "models/reviews")
        for _ in range(KILLS):
            kill(one, "train-reviews", 6.0)
            one.run("train-reviews")
            check(model)


def test_promotions_that_are_killed(tmp_path: Path) -> None:
    """A model that is the first of its name is promoted; the report is written just before."""
    with served_in(tmp_path / "served", NEVER, NEVER) as one:
        model = Model(one.folder / "models/reviews")
        for _ in range(KILLS):
            kill(one, "train-reviews", 0.06, lambda: [*one.folder.glob("runs/.*/report.html")])
            if model.standing().production is not None:
                check(model, swept=False)
            one.run("train-reviews")
            check(model)
            shutil.rmtree(model.folder)


def test_scoring_that_is_killed(tmp_path: Path) -> None:
    with served_in(tmp_path / "served", NEVER, NEVER) as one:
        one.run("train-reviews")
        for turn in range(KILLS):
            one.put(f"{turn}.csv", 2000)
            kill(one, "score-reviews", 4.0)
            one.run("score-reviews")
            assert len(one.scored()) == 2000 * (turn + 1)
            assert set(one.scored().values()) == {1}


def test_a_dead_run_whose_worker_died_too_is_made_good(tmp_path: Path) -> None:
    with served_in(tmp_path / "served", NEVER, NEVER) as one:
        run = one.start("train-reviews")
        one.wait(lambda: one.state(run) == "RUNNING")
        worker = one.processes()["worker"]
        runs = children(worker)
        for pid in [worker, *runs, *(child for run in runs for child in children(run))]:
            os.kill(pid, signal.SIGKILL)
        one.wait(lambda: one.state(run) == "CRASHED", 240)
        whole = one.run("train-reviews")
        time.sleep(1.3 * automations.DEAD.total_seconds())
        assert one.state(whole) == "COMPLETED"  # what has ended gives no sign of life either


def test_a_run_that_takes_too_long_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_in(tmp_path / "served", NEVER, NEVER) as one:
        monkeypatch.setattr(automations, "LONGEST", {"reviews": timedelta(seconds=10)})
        with one.client() as client:
            automations.put_automations(client, None)
        run = one.start("train-reviews", training={"epochs": 1000, "batch_size": 1})
        one.wait(lambda: one.state(run) == "CANCELLED", 240)
        one.run("train-reviews")
        check(Model(one.folder / "models/reviews"))


@pytest.mark.faults
def test_serving_that_is_killed(tmp_path: Path) -> None:
    """Its server and its worker end with it, and then the runs; it can be started again in the same place."""
    with served_in(tmp_path / "served", NEVER, NEVER) as one:
        for turn in range(kills("serve")):
            run = one.start("train-reviews")
            one.wait(lambda run=run: one.state(run) == "RUNNING")
            time.sleep(MOMENTS.uniform(0, 3))
            one.process.kill()
            one.process.wait()
            end = time.monotonic() + 60
            while one.left():
                assert time.monotonic() < end, one.left()
                time.sleep(0.1)
            one.begin()
            one.wait(lambda: "Prefect: " in one.said())
            one.wait(lambda run=run: one.state(run) in ("CRASHED", "COMPLETED"), 240)
            print(turn, one.state(run), flush=True)
        one.run("train-reviews")
        check(Model(one.folder / "models/reviews"))


def test_a_month_of_runs(tmp_path: Path) -> None:
    """What 720 runs of the smallest job, one after the other, leave behind, of each run and in all."""
    with served_in(tmp_path / "served", NEVER, NEVER) as one:
        one.run("train-reviews")
        one.put("0.csv", 5)
        one.run("score-reviews")
        before = standing(one)
        print("at first:", before)
        for turn in range(1, RUNS + 1):
            one.put(f"{turn}.csv", 5)
            one.run("score-reviews")
            if turn % 20 == 0:
                grown = Counter(standing(one))
                grown.subtract(before)
                print(turn, "runs:", dict(grown), flush=True)
        after = standing(one)
        grown = {name: after[name] - before[name] for name in before}
        assert one.scored() == Counter(f"{t}.csv-{i}" for t in range(RUNS + 1) for i in range(5))
        assert grown["memory"] < (150 << 20) + RUNS * 50_000
        assert grown["open files"] < 30
        assert grown["database"] < (8 << 20) + RUNS * 360_000
        assert grown["scores"] < (1 << 20) + RUNS * 10_000


def kill(
    one: Served, deployment: str, longest: float, after: Callable[[], object] | None = None
) -> None:
    """Starts a run, and kills its processes at a random moment.

    Args:
        one: where it runs.
        deployment: whose run.
        longest: seconds until then, from when its process is started, or where `after` is given from when that is true.
        after: asked while it runs.
    """
    run = one.start(deployment)
    states = ("SCHEDULED",) if after is None else ("SCHEDULED", "PENDING")
    one.wait(lambda: one.state(run) not in states, every=0.02)
    found = processes(one, run)
    if after is not None:
        one.wait(after, every=0.001)
    time.sleep(MOMENTS.uniform(0, longest))
    for pid in found if after is not None else processes(one, run):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    one.wait(lambda: one.state(run) in ENDED)
    print(deployment, one.state(run))


def processes(one: Served, run: str) -> list[int]:
    """Those of a run, parents first."""
    found = []
    for parent in children(one.processes()["worker"]):
        try:
            if run.encode() in Path(f"/proc/{parent}/environ").read_bytes():
                found += [parent, *children(parent)]
        except FileNotFoundError:
            continue
    return found


def check(model: Model, swept: bool = True) -> None:
    """The version in production is whole, and nothing half-made is beside it where the next run has swept."""
    number = model.standing().production
    assert number is not None
    assert load_scorer(model.path(number)).labels == ("neg", "pos")
    if swept:
        assert not [path for path in model.folder.iterdir() if path.name.startswith(".")]


def standing(one: Served) -> dict[str, int]:
    """Bytes of memory and open files of the processes that stay, and bytes on the disk."""
    found = Counter[str]()
    for pid in one.processes().values():
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
        found["memory"] += sum(int(r.split()[1]) << 10 for r in rows if r.startswith("RssAnon"))
        found["open files"] += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    found["database"] = sum(f.stat().st_size for f in (one.folder / "prefect").glob("serve.db*"))
    found["scores"] = sum(f.stat().st_size for f in (one.folder / "scores").rglob("*.*"))
    return dict(found)
