"""`python -m flows serve` on a free port, with schedules of seconds, for the tests of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yaml

from flows.interrupt import children
from flows.serving import SCHEDULES

SMALL = {
    "cell": "rnn",
    "embedding_size": 8,
    "hidden_size": 8,
    "sequence_length": 16,
    "max_tokens": 100,
    "word_weights": True,
}


class Served:
    """A server, a worker and their schedules in a folder, as one process that ends them."""

    def __init__(self, folder: Path, train: dict[str, Any], score: dict[str, Any]) -> None:
        self.folder, self.port = folder, _free_port()
        (folder / "inbox/reviews").mkdir(parents=True)
        lines = ["id,text,label"]
        lines += [
            f"r{i},A {('good', 'bad')[i % 2]} one number {i},{('pos', 'neg')[i % 2]}"
            for i in range(400)
        ]
        (folder / "labelled.csv").write_text("\n".join(lines) + "\n")
        schedules = folder / "schedules.yaml"
        schedules.write_text(yaml.safe_dump(_schedules(train, score)))
        self.log = (folder / "serve.log").open("w+")
        own = {"PREFECT_HOME": str(folder / "prefect"), "RNNFAST_CACHE": str(folder / "cache")}
        threads = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "flows", "serve", "--folder", str(folder)]
        command += ["--schedules", str(schedules), "--port", str(self.port)]
        apart = {"PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"}
        outer = {name: value for name, value in os.environ.items() if name not in apart}
        self.process = subprocess.Popen(
            command, env=outer | own | threads, stdout=self.log, stderr=subprocess.STDOUT
        )

    def said(self) -> str:
        """What it has printed."""
        return Path(self.log.name).read_text()

    def put(self, name: str, rows: int) -> None:
        """Puts a file with reviews into the inbox, an hour old."""
        path = self.folder / "inbox/reviews" / name
        lines = ["id,text", *(f"{name}-{i},a good one {i}" for i in range(rows))]
        path.write_text("\n".join(lines) + "\n")
        os.utime(path, (time.time() - 3600,) * 2)

    def ask(self, what: str, **filters: Any) -> Any:
        """What the server's API answers to a POST."""
        body = json.dumps(filters).encode()
        request = Request(f"http://127.0.0.1:{self.port}/api/{what}", body)
        request.add_header("content-type", "application/json")
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

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

    def wait(self, until: Callable[[], Any], seconds: float = 150) -> Any:
        """What is true at last."""
        end = time.monotonic() + seconds
        while not (found := until()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.5)
        return found

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


def _schedules(train: dict[str, Any], score: dict[str, Any]) -> dict[str, Any]:
    """Those of the project, with other times and a small model for the reviews."""
    content = yaml.safe_load(SCHEDULES.read_text())
    by_name = {each["name"]: each for each in content["deployments"]}
    by_name["train-reviews"]["schedules"] = [train]
    by_name["train-reviews"]["parameters"] |= {
        "data": {"dataset": "labelled.csv"},
        "model": SMALL,
        "training": {"epochs": 3, "learning_rate": 0.02},
    }
    by_name["score-reviews"]["schedules"] = [score]
    for each in content["deployments"]:
        each["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"] = "1"
    return dict(content)


def _free_port() -> int:
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
