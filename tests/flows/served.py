"""`python -m flows serve` on a free port, with schedules of seconds, for the tests of it."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cli.serve import SCHEDULES
from flows.orchestration.interrupt import children

NEVER = {"cron": "0 0 1 1 *", "timezone": "UTC"}
SMALL = {
    "cell": "rnn",
    "embedding_size": 8,
    "hidden_size": 8,
    "sequence_length": 16,
    "max_tokens": 100,
    "word_weights": True,
}


@contextmanager
def served_in(folder: Path, train: dict[str, Any], score: dict[str, Any]) -> Iterator["Served"]:
    """Serves in a new folder, and ends it after the block."""
    one = Served(folder, train, score)
    try:
        one.wait(lambda: "Prefect: " in one.said())
        yield one
    finally:
        one.end()


class Served:
    """A server, a worker and their schedules in a folder, as one process that ends them."""

    def __init__(self, folder: Path, train: dict[str, Any], score: dict[str, Any]) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "inbox/reviews").mkdir(parents=True)
        lines = ["id,text,label"]
        lines += [
            f"r{i},A {('good', 'bad')[i % 2]} one number {i},{('pos', 'neg')[i % 2]}"
            for i in range(400)
        ]
        (folder / "labelled.csv").write_text("\n".join(lines) + "\n")
        (folder / "readings.csv").write_text(readings(range(600)))
        (folder / "schedules.yaml").write_text(yaml.safe_dump(_schedules(train, score)))
        self.begin()

    def begin(self) -> None:
        """Starts it; also once more, after it has ended."""
        self.log = (self.folder / "serve.log").open("w+")
        self.process = subprocess.Popen(
            self.command(self.folder, self.port),
            env=self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def command(self, folder: Path, port: int) -> list[str]:
        """What serves a folder by the schedules of this one."""
        command = [sys.executable, "-m", "flows", "serve", "--folder", str(folder)]
        return [*command, "--schedules", str(self.folder / "schedules.yaml"), "--port", str(port)]

    @property
    def environment(self) -> dict[str, str]:
        """That of what is started here, with a database and a cache of its own."""
        home, cache = self.folder / "prefect", self.folder / "cache"
        own = {"PREFECT_HOME": str(home), "RNNFAST_CACHE": str(cache)}
        threads = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        apart = {"PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"}
        outer = {name: value for name, value in os.environ.items() if name not in apart}
        return outer | own | threads

    def said(self) -> str:
        """What it has printed."""
        return Path(self.log.name).read_text()

    def put(self, name: str, rows: int) -> None:
        """Puts a file with reviews into their inbox."""
        lines = ["id,text", *(f"{name}-{i},a good one {i}" for i in range(rows))]
        self.put_file(Path("reviews", name), "\n".join(lines) + "\n")

    def put_file(self, place: Path, content: str) -> None:
        """Puts a file into an inbox, an hour old."""
        path = self.folder / "inbox" / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        os.utime(path, (time.time() - 3600,) * 2)

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client of the server, for what needs more than an answer."""
        address = f"http://127.0.0.1:{self.port}/api"
        with (
            temporary_settings({PREFECT_API_URL: address}),
            get_client(sync_client=True) as client,
        ):
            yield client

    def start(self, deployment: str, **parameters: Any) -> str:
        """Asks for a run of a deployment, with these parameters in place of its own, and returns its id."""
        path = f"deployments/{self._id(deployment)}/create_flow_run"
        return str(self.ask(path, parameters=parameters, state={"type": "SCHEDULED"})["id"])

    def pause(self, deployment: str) -> None:
        """Has its schedule start nothing more."""
        self.ask(f"deployments/{self._id(deployment)}/pause_deployment")

    def _id(self, deployment: str) -> str:
        found = self.ask("deployments/filter", deployments={"name": {"any_": [deployment]}})
        return str(found[0]["id"])

    def run(self, deployment: str) -> str:
        """Starts a run of a deployment, waits for its good end, and returns its id."""
        id = self.start(deployment)

        def ended() -> bool:
            state = self.state(id)
            assert state not in ("FAILED", "CANCELLED", "CRASHED"), self.said()
            return state == "COMPLETED"

        self.wait(ended)
        return id

    def ask(self, what: str, **filters: Any) -> Any:
        """What the server's API answers to a POST.

        While others hold its SQLite it may have no time (503), and Prefect's own client too asks again.
        """
        body = json.dumps(filters).encode()
        request = Request(f"http://127.0.0.1:{self.port}/api/{what}", body)
        request.add_header("content-type", "application/json")
        for wait in (1, 2, 4, 8, 0):
            try:
                with urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or not wait:
                    raise AssertionError(error.read().decode()) from error
                time.sleep(wait)
        return None

    def runs(self, deployment: str, state: str = "COMPLETED") -> list[dict[str, Any]]:
        """The runs of a deployment that are in a state, the first one first."""
        found = self.ask(
            "flow_runs/filter",
            deployments={"name": {"any_": [deployment]}},
            flow_runs={"state": {"type": {"any_": [state]}}},
            sort="START_TIME_ASC",
        )
        assert isinstance(found, list)
        return found

    def wait(self, until: Callable[[], Any], seconds: float = 300, every: float = 0.5) -> Any:
        """What is true at last, asked at intervals of seconds."""
        end = time.monotonic() + seconds
        while not (found := until()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(every)
        return found

    def state(self, run: str) -> str:
        """That of a run, by its id."""
        found = self.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
        return str(found[0]["state_type"])

    def scored(self) -> Counter[str]:
        """The ids of the reviews that were scored, and how often each was."""
        files = (self.folder / "scores/reviews").glob("*.parquet")
        return Counter(id for file in files for id in pq.read_table(file)["id"].to_pylist())

    def processes(self) -> dict[str, int]:
        """The server, the worker and this process."""
        found = {"serve": self.process.pid}
        for pid in children(self.process.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            found |= {name: pid for name in ("uvicorn", "worker") if name.encode() in words}
        return found

    def end(self) -> int:
        """Tells it to end, and returns its code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.log.close()
        return code

    def left(self) -> list[str]:
        """What still runs of it, by its environment."""
        mark = f"RNNFAST_RUNS_ADDRESS=http://127.0.0.1:{self.port + 1}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes():
                    found.append((path / "cmdline").read_bytes().decode())
            except OSError:
                continue
        return found


def readings(hours: Iterable[int]) -> str:
    """The content of a CSV file with a reading of each hour, a wave of a day's length."""
    start, day = datetime(2026, 1, 1, tzinfo=UTC), 24
    lines = [
        f"{(start + timedelta(hours=hour)).isoformat()},{math.sin(2 * math.pi * hour / day):.4f}"
        for hour in hours
    ]
    return "\n".join(["time,load", *lines]) + "\n"


def _schedules(train: dict[str, Any], score: dict[str, Any]) -> dict[str, Any]:
    """Those of the project, with other times and a small model for the reviews."""
    content = yaml.safe_load(SCHEDULES.read_text())
    by_name = {each["name"]: each for each in content["deployments"]}
    by_name["train-reviews"]["schedules"] = [train]
    by_name["train-reviews"]["parameters"]["request"] |= {
        "data": {"dataset": "labelled.csv"},
        "model": SMALL,
        "training": {"epochs": 3, "learning_rate": 0.02},
    }
    by_name["score-reviews"]["schedules"] = [score]
    for name in ("pretrain-reviews", "train-sensors", "score-sensors"):
        by_name[name]["schedules"] = [NEVER]
    by_name["train-sensors"]["parameters"]["request"] |= {
        "data": {"dataset": "readings.csv"},
        "model": {"cell": "linear", "lookback": 12, "horizon": 2},
        "training": {"epochs": 10},
    }
    for each in content["deployments"]:
        each["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"] = "1"
    return dict(content)


def free_port() -> int:
    """A port that is free, as is the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return int(port)
