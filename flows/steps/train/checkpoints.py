"""Where the checkpoint of a training is kept until it has ended: in the cache, under the training's key.

Not in the run's folder, which is gone when a job fails: started again, the job finds there what the one
before it left, even when that one was killed.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.store.locks import locked
from rnnfast.training.checkpoint import Checkpoint, CheckpointError
from rnnfast.training.loop import DivergedError

SECONDS = 30.0  # from one checkpoint to the next, within an epoch

logger = logging.getLogger(__name__)


@contextmanager
def checkpoint_of(key: str, cache: Path) -> Iterator[Checkpoint | None]:
    """The checkpoint of a training, which is removed when that has ended, be it that it diverged.

    None, with a warning, where another job on this machine has it. One that is broken is removed with
    a warning that says why.
    """
    folder = cache / "checkpoints" / key
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    lock.touch()
    with locked(lock, wait=False) as is_free:
        if not is_free:
            logger.warning("another job trains the same: this one keeps no checkpoints")
            yield None
            return
        checkpoint = Checkpoint(folder / "checkpoint.safetensors", key, SECONDS)
        _look_at(checkpoint)
        try:
            yield checkpoint
        except DivergedError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _look_at(checkpoint: Checkpoint) -> None:
    try:
        saved = checkpoint.parsed(checkpoint.read())
    except CheckpointError as error:
        logger.warning("%s; training starts anew", error)
        checkpoint.path.unlink()
        return
    if saved:
        done, step = len(saved.record["history"]), saved.record["step"]
        logger.info("training goes on after epoch %d, step %d", done, step)
