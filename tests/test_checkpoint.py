"""Trainings that were killed go on as if they had not been."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import build_model
from rnnfast.training.checkpoint import Checkpoint, CheckpointError, TrainingState
from rnnfast.training.loop import Progress, fit
from rnnfast.training.rows import Reviews
from rnnfast.training.settings import TrainingSettings
from tests.faults import kills

SIZE = 30
SETTINGS = TrainingSettings(epochs=4, batch_size=16, patience=3)
STEPS = 10 * SETTINGS.epochs

# Trains as `trained` does, and says so after every step.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import safetensors.torch
from test_checkpoint import checkpoint_in, trained
say = lambda progress: print(progress.rows_done, flush=True)
weights, _ = trained(checkpoint_in(Path(sys.argv[1])), say)
safetensors.torch.save_file(weights, Path(sys.argv[1], "weights"))
"""


def rows(n: int, seed: int) -> Reviews:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 12, n)
    ids = torch.from_numpy(generator.integers(0, SIZE, lengths.sum(), np.int32))
    labels = torch.from_numpy(generator.integers(0, 2, n))
    return Reviews(ids, torch.from_numpy(np.append(0, lengths.cumsum())), labels)


def checkpoint_in(folder: Path, seconds: float = 0) -> Checkpoint:
    return Checkpoint(folder / "checkpoint", "this training", seconds)


def trained(
    checkpoint: Checkpoint | None = None,
    on_progress: Any = None,
    *,
    wide: bool = False,
    **changes: Any,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Weights, and the history without what depends on the clock."""
    torch.set_num_threads(1)
    sizes = {"embedding_size": 6, "hidden_size": 5, "sequence_length": 12}
    model = build_model(ModelConfig(num_layers=2, wide=wide, max_pairs=100, **sizes), SIZE)
    settings = SETTINGS.model_copy(update=changes)
    history = fit(model, rows(155, 0), rows(40, 1), settings, on_progress, checkpoint)
    timeless = [
        {k: v for k, v in entry.items() if "second" not in k} | {"timed": entry["seconds"] > 0}
        for entry in history
    ]
    return model.state_dict(), timeless


def assert_same(
    found: tuple[dict[str, Tensor], list[Any]], expected: tuple[dict[str, Tensor], list[Any]]
) -> None:
    assert found[1] == expected[1]
    assert all(torch.equal(found[0][name], tensor) for name, tensor in expected[0].items())


class _Stop:
    """Interrupts a training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, _: Progress) -> None:
        self.left -= 1
        if self.left < 0:
            raise InterruptedError


@pytest.mark.parametrize(
    "changes", [{}, {"averaging": 0.0, "schedule": "constant"}, {"wide": True}]
)
@pytest.mark.parametrize("every", [0.0, 1e9])
def test_interrupted_at_any_step(tmp_path: Path, every: float, changes: dict[str, Any]) -> None:
    expected = trained(**changes)
    checkpoint = checkpoint_in(tmp_path, every)
    left = STEPS
    for steps in (1, 9, 1, 12):  # with a checkpoint at each epoch's end only, steps are done again
        stop = _Stop(steps)
        with pytest.raises(InterruptedError):
            trained(checkpoint, stop, **changes)
        left -= steps
    seen: list[Progress] = []
    assert_same(trained(checkpoint, seen.append, **changes), expected)
    assert [p.rows_done for p in seen] == sorted(p.rows_done for p in seen)
    assert len(seen) == (left if every == 0 else STEPS - 10)
    # What has ended is not done again.
    assert_same(trained(checkpoint, _Stop(0), **changes), expected)


def test_patience_ends_it_after_a_restart_too(tmp_path: Path) -> None:
    changes = {"epochs": 30, "patience": 1, "learning_rate": 0.05}
    expected = trained(**changes)
    assert len(expected[1]) < 30
    with pytest.raises(InterruptedError):
        trained(checkpoint_in(tmp_path), _Stop(10 * len(expected[1]) - 5), **changes)
    assert_same(trained(checkpoint_in(tmp_path), **changes), expected)
    assert_same(trained(checkpoint_in(tmp_path), _Stop(0), **changes), expected)


def test_the_random_state_outside_stays(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        trained(checkpoint_in(tmp_path), _Stop(3))
    before = torch.get_rng_state()
    trained(checkpoint_in(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


def kill_and_resume(folder: Path, kills: list[float]) -> None:
    """Trains in a process that is killed after some of its steps and a moment, then started again."""
    expected = trained()
    for number, after in enumerate(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, folder, Path(__file__).parent],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(int(after)):
            process.stdout.readline()
        time.sleep((after % 1) * 0.005)  # a step takes some ms, and so does its checkpoint
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"kill {number}"
    assert_same(trained(checkpoint_in(folder)), expected)


def test_killed(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, [1.3, 7.6])


@pytest.mark.soak
@pytest.mark.faults
@pytest.mark.parametrize("seed", range(kills("training") // 3))
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    kill_and_resume(tmp_path, [1 + draw.random() * 9 for _ in range(3)])


def state() -> TrainingState:
    return TrainingState(
        {"a.x": torch.arange(6).view(2, 3), "b.x": torch.tensor(0.1), "a.": torch.zeros(0)},
        {"loss": 0.1 + 0.2, "history": [{"epoch": 1}]},
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    assert checkpoint.parsed(checkpoint.read()) is None
    checkpoint.write(TrainingState({}, {}))
    checkpoint.write(state())
    found = checkpoint.parsed(checkpoint.read())
    assert found is not None
    assert found.record == state().record
    assert found.tensors_of("a").keys() == {"x", ""}
    assert all(torch.equal(found.tensors[name], t) for name, t in state().tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("size", [1, 7, 8, 100, -8, -1])
def test_a_cut_off_checkpoint_is_an_error(tmp_path: Path, size: int) -> None:
    checkpoint = checkpoint_in(tmp_path)
    checkpoint.write(state())
    whole = checkpoint.read()
    with pytest.raises(CheckpointError, match=r"checkpoint must be a whole checkpoint: "):
        checkpoint.parsed(whole[:size])


def test_a_changed_byte_is_an_error(tmp_path: Path) -> None:
    checkpoint = checkpoint_in(tmp_path)
    checkpoint.write(state())
    whole = bytearray(checkpoint.read())
    whole[-9] ^= 1
    with pytest.raises(CheckpointError, match=r"whole checkpoint: its SHA-256 is \w+, not \w+"):
        checkpoint.parsed(bytes(whole))


def test_that_of_another_training_is_an_error(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "checkpoint", "another", 0).write(state())
    with pytest.raises(CheckpointError, match="of the training this training, it is of another"):
        trained(checkpoint_in(tmp_path))


def test_other_files_of_safetensors_are_an_error(tmp_path: Path) -> None:
    header = json.dumps({}).encode()
    checkpoint = checkpoint_in(tmp_path)
    with pytest.raises(CheckpointError, match="__metadata__"):
        checkpoint.parsed(len(header).to_bytes(8, "little") + header)
