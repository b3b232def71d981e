"""Trains on several processes of this machine, and of others: starts them by torchrun and follows them.

When a worker is killed, torchrun starts all anew, and they go on from the last checkpoint.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch
from torch import nn

from flows.errors import InputError, WorkerError
from flows.parameters import Processes
from flows.steps.train import worker
from flows.steps.train.job import TrainingJob
from flows.steps.train.worker import HISTORY, REPORTS, TRAINED, WorkOrder
from flows.tethered import tethered
from flows.unfinished import at_end
from rnnfast.training.checkpoint import Checkpoint
from rnnfast.training.loop import DivergedError, Progress

LOG = "log"
POLL_PAUSE = 0.05  # seconds from one look at the reports to the next
RESTARTS = 3  # so often all may be started anew
WORKER_PATIENCE = 3.0  # seconds for them to end when they are told to, or when all is done
LAST_LINES = 40  # of what they said, where they failed

logger = logging.getLogger(__name__)


def train_together(
    model: nn.Module,
    job: TrainingJob,
    checkpoint: Checkpoint | None,
    processes: Processes,
    on_progress: Callable[[Progress], None],
) -> list[dict[str, Any]]:
    """Trains the model of a job; returns the history.

    Args:
        model: takes the trained weights.
        job: the training.
        checkpoint: the workers', if they are to keep one.
        processes: how many, and how they find those of other machines.
        on_progress: called some times a second.

    Raises:
        DivergedError: the training diverged.
        InputError: the machines do not train the same.
        WorkerError: the processes ended before they were done.
    """
    with TemporaryDirectory(prefix="workers-", dir=job.parts) as name:
        folder = Path(name)
        order = WorkOrder(job=job, checkpoint=checkpoint, folder=folder, device=processes.device)
        path = folder / "order.json"
        path.write_text(order.model_dump_json(), encoding="utf-8")
        command = [*_torchrun(job, processes), "-m", worker.__name__, str(path)]
        code = _run(command, folder, _environment(processes), on_progress)
        if not (folder / HISTORY).exists():
            for line in (folder / LOG).read_text("utf-8", "replace").splitlines()[-LAST_LINES:]:
                logger.error("%s", line)
            raise WorkerError(
                f"--workers: the processes that train ended with code {code} before they were "
                "done; started again, the job goes on from the last checkpoint"
            )
        model.load_state_dict(safetensors.torch.load_file(folder / TRAINED))
        history: list[dict[str, Any]] = json.loads((folder / HISTORY).read_bytes())
        return history


def _run(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    on_progress: Callable[[Progress], None],
) -> int | None:
    """Runs a command and follows the reports in the folder; returns its exit code.

    As soon as the history is there, all workers are done. Then torchrun is ended if it does not end by itself: it
    may wait for the torchrun of another machine, which is gone.
    """
    started: list[subprocess.Popen[bytes]] = []
    (folder / REPORTS).touch()
    with (
        (folder / LOG).open("wb") as log,
        (folder / REPORTS).open(encoding="utf-8") as reports,
        at_end(partial(_end, started)),
    ):
        process = subprocess.Popen(
            tethered(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | environment,
            # Ctrl-C on a terminal is for this process, which ends that one.
            start_new_session=True,
        )
        started.append(process)
        code, patience = None, WORKER_PATIENCE
        while code is None and patience > 0:
            code = process.poll()
            follow(reports.readlines(), on_progress)
            if (folder / HISTORY).exists():
                patience -= POLL_PAUSE
            time.sleep(POLL_PAUSE if code is None else 0)
        return code


def _torchrun(job: TrainingJob, processes: Processes) -> list[str]:
    where = ["--standalone"]
    if processes.rendezvous is not None:
        where = [
            f"--nnodes={processes.nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={processes.rendezvous}",
            "--rdzv-id=rnnfast",
        ]
    how = [f"--nproc-per-node={processes.workers}", f"--max-restarts={RESTARTS}"]
    return [sys.executable, "-m", "torch.distributed.run", *where, *how]


def _environment(processes: Processes) -> dict[str, str]:
    variables = {
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes.workers)),
        # Else the workers meet in the agent's store, and after a restart may wait there for ever.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if processes.rendezvous is None:
        variables["GLOO_SOCKET_IFNAME"] = "lo"  # no other machine has to reach the workers
    return variables


def follow(lines: list[str], on_progress: Callable[[Progress], None]) -> None:
    """Passes on what a worker reports; raises the errors among it, as `train_together` says."""
    for line in lines:
        report = json.loads(line)
        if error := report.get("error"):
            raise InputError(error)
        if message := report.get("diverged"):
            raise DivergedError(message)
        if report.get("restarts"):
            logger.warning("a worker was lost: all go on from the last checkpoint")
        if "progress" in report:
            on_progress(Progress(**report["progress"]))


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """Ends torchrun, and with it its workers, where it still runs."""
    for process in started:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(WORKER_PATIENCE)
        process.kill()
        process.wait()
