"""One of the processes that train a model together; `train_workers` starts it, by torchrun."""

import ctypes
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from pydantic import BaseModel
from torch.distributed.elastic.multiprocessing.errors import record

from flows.steps.train.job import TrainingJob
from rnnfast.models.choices import DeviceChoice
from rnnfast.models.precision import find_device
from rnnfast.training.checkpoint import Checkpoint
from rnnfast.training.loop import DivergedError, Progress, fit
from rnnfast.training.workers import Workers

TRAINED, HISTORY, REPORTS = "weights.safetensors", "history.json", "reports.jsonl"
REPORT_PAUSE = 0.2  # seconds from one report to the next, at least
_PR_SET_PDEATHSIG = 1  # from Linux's sys/prctl.h


class WorkOrder(BaseModel):
    """What the workers of a machine are told: the training, its checkpoint, and where to report."""

    job: TrainingJob
    checkpoint: Checkpoint | None
    folder: Path
    device: DeviceChoice = "auto"


def end_with_parent() -> None:
    """Has Linux kill this process as soon as the one that started it ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def work(order: WorkOrder, workers: Workers) -> None:
    """Trains; the worker that writes leaves reports, and at last the weights and the history.

    The history appears when all workers have done their work, so that whoever sees it needs none of them any more.
    """
    with (order.folder / REPORTS).open("a", encoding="utf-8") as file:

        def report(**content: Any) -> None:
            if workers.writes:
                file.write(json.dumps(content) + "\n")
                file.flush()

        report(restarts=int(os.environ["TORCHELASTIC_RESTART_COUNT"]))
        if len({tuple(key) for key in workers.gather(list(bytes.fromhex(order.job.key)))}) > 1:
            report(error="--nodes: all machines must have the same data, settings and code")
            return
        model, rows, validation = order.job.begin()
        last = 0.0

        def show(progress: Progress) -> None:
            nonlocal last
            if time.monotonic() - last >= REPORT_PAUSE or progress.rows_done % len(rows) == 0:
                report(progress=asdict(progress))
                last = time.monotonic()

        try:
            device = find_device(order.device)
            if device.type == "cuda":
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
            how = order.job.training, show, order.checkpoint, workers, device
            history = fit(model, rows, validation, *how)
        except DivergedError as error:  # as in all workers: to start them again would not help
            report(diverged=str(error))
            return
    written = order.folder / f"{HISTORY}.written"
    if workers.writes:
        (order.folder / TRAINED).write_bytes(safetensors.torch.save(model.state_dict()))
        written.write_text(json.dumps(history), encoding="utf-8")
    workers.gather([])  # waits for all
    if workers.writes:
        written.rename(order.folder / HISTORY)


@record  # has torchrun say why a worker failed
def main() -> None:
    """Joins the other workers and trains as the file says that the command line names."""
    dist.init_process_group("gloo")
    work(
        WorkOrder.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")),
        Workers(dist.get_rank(), dist.get_world_size(), os.environ["LOCAL_RANK"] == "0"),
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    end_with_parent()
    main()
