"""Trainings that several processes share, held against one process."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from rnnfast.models.config import ModelConfig
from rnnfast.models.language import build_language_model
from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.texts import build_model
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.windows import build_window_model
from rnnfast.series.windows import Windows
from rnnfast.training.checkpoint import Checkpoint
from rnnfast.training.loop import DivergedError, fit
from rnnfast.training.rows import Futures, LabelledWindows, Reviews, Rows
from rnnfast.training.settings import LoopSettings, TrainingSettings, WindowTraining
from rnnfast.training.streams import TextStream
from rnnfast.training.workers import Workers

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["rnnfast.training.loop"])
SIZE, LENGTH = 20, 9
# 61 rows by 15 are four batches and one row, for which there are more workers than rows.
REVIEWS = TrainingSettings(epochs=2, batch_size=15)
WINDOWS = WindowTraining(epochs=2, batch_size=15)
Case = tuple[nn.Module, Rows, LoopSettings]


def reviews(**config: Any) -> Case:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, LENGTH + 1, 61)
    ids = torch.from_numpy(generator.integers(0, SIZE, lengths.sum(), np.int32))
    labels = torch.from_numpy(generator.integers(0, 2, 61))
    sizes = {"sequence_length": LENGTH, "embedding_size": 6, "hidden_size": 5}
    model = ModelConfig(**{"cell": "rnn", **sizes, **config})
    rows = Reviews(
        ids,
        torch.from_numpy(np.append(0, lengths.cumsum())),
        labels,
        LENGTH if model.cell == "mlp" else None,
        model.padding,
    )
    return build_model(model, SIZE), rows, REVIEWS


def windows(**config: Any) -> Case:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32))
    model = build_window_model(
        WindowConfig(lookback=8, hidden_size=6, noise=0.1, **config), 3, (0, 2), 2
    )
    if model.config.task == "classify":
        runs = np.array([[0, 60], [60, 120]])
        cut = Windows(values, runs, 8)
        return model, LabelledWindows(cut, cut.run_of(torch.arange(len(cut)))), WINDOWS
    found = Windows(values, np.array([[0, 120]]), 8 + model.config.horizon)
    return model, Futures(found, model), WINDOWS


def language() -> Case:
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, SIZE, 400, np.int32))
    config = LanguageConfig(embedding_size=6, hidden_size=5, candidates=8, word_dropout=0.1)
    settings = LoopSettings(epochs=2, batch_size=15)
    return build_language_model(config, SIZE, streams=15), TextStream(ids, 7), settings


CASES: dict[str, Callable[[], Case]] = {
    "without noise": partial(reviews, dropout=0, word_dropout=0, channel_dropout=0),
    "rnn": reviews,
    "two layers, padded before": partial(reviews, num_layers=2, padding="before"),
    "wide and deep": partial(reviews, wide=True, max_pairs=50),
    "mlp": partial(reviews, cell="mlp"),
    "cnn": partial(reviews, cell="cnn"),
    "segments": partial(windows, form="segments", segment=4, horizon=4, num_layers=2, dropout=0.3),
    "language": language,
    "turned": partial(windows, task="classify", rotation=0.3, dropout=0.2),
}
Result = tuple[dict[str, Tensor], list[dict[str, Any]]]


def trained(case: str, workers: Workers) -> Result:
    torch.set_num_threads(1)
    model, rows, settings = CASES[case]()
    return model.state_dict(), fit(model, rows, rows, settings, workers=workers)


def all_cases(workers: Workers, _: Path) -> dict[str, Result]:
    return {case: trained(case, workers) for case in CASES}


def diverged(workers: Workers, _: Path) -> str:
    model, rows, settings = reviews()
    settings = settings.model_copy(update={"learning_rate": float("inf")})
    with pytest.raises(DivergedError) as error:
        fit(model, rows, None, settings, workers=workers)
    return str(error.value)


def resumed(workers: Workers, folder: Path) -> Result:
    """From a checkpoint that the second worker alone has, as if it were on another machine."""
    torch.set_num_threads(1)
    checkpoint = Checkpoint(folder / str(workers.rank), "key", 0)
    if workers.rank == 1:
        steps: list[object] = []

        def stop(progress: object) -> None:
            steps.append(progress)
            if len(steps) == 8:
                raise InterruptedError

        model, rows, settings = CASES["rnn"]()
        with pytest.raises(InterruptedError):
            fit(model, rows, rows, settings, stop, checkpoint)
    model, rows, settings = CASES["rnn"]()
    history = fit(model, rows, rows, settings, None, checkpoint, workers)
    return model.state_dict(), history


def work(job: Callable[[Workers, Path], Any], rank: int, count: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store{count}", rank=rank, world_size=count
    )
    torch.save(job(Workers(rank, count), folder), folder / f"result{rank}")
    dist.barrier()
    dist.destroy_process_group()


def share(job: Callable[[Workers, Path], Any], count: int, folder: Path) -> list[Any]:
    """What each of several workers gives, by rank."""
    processes = [
        CONTEXT.Process(target=work, args=(job, rank, count, folder)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"result{rank}") for rank in range(count)]


def assert_close(found: Result, expected: Result) -> None:
    for name, tensor in expected[0].items():
        torch.testing.assert_close(found[0][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    for entry, other in zip(found[1], expected[1], strict=True):
        assert entry.keys() == other.keys()
        for name in entry.keys() - {"seconds", "tokens_per_second", "readings_per_second"}:
            assert entry[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.parametrize("count", [2, 3])
def test_as_many_as_like_give_the_result_of_one(count: int, tmp_path: Path) -> None:
    results = share(all_cases, count, tmp_path)
    for case in CASES:
        for rank in range(1, count):
            assert all(
                torch.equal(results[rank][case][0][n], t) for n, t in results[0][case][0].items()
            )
        assert_close(results[0][case], trained(case, Workers()))


def test_all_see_that_it_diverges(tmp_path: Path) -> None:
    first, second = share(diverged, 2, tmp_path)
    assert first == second
    assert "diverged in epoch 1, step" in first


def test_all_go_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    for result in share(resumed, 2, tmp_path):
        assert_close(result, trained("rnn", Workers()))


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_shares_are_all_rows_once(rows: int) -> None:
    numbers = torch.arange(rows)
    shares = [Workers(rank, 3).share(rows) for rank in range(3)]
    taken = torch.cat([numbers[share] for share, weight in shares if weight])
    assert sorted(taken.tolist()) == numbers.tolist()
    assert sum(weight for _, weight in shares) == pytest.approx(1)
    assert all(len(numbers[share]) for share, _ in shares)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.rand(x.shape),
        lambda x: torch.randn(len(x), 3),
        torch.randn_like,
        torch.rand_like,
        lambda x: nn.functional.dropout(x, 0.5),
        lambda x: nn.functional.dropout(x.repeat_interleave(2, 0), 0.5),
    ],
)
def test_noise_is_that_of_the_batch(draw: Callable[[Tensor], Tensor]) -> None:
    batch = torch.ones(7, 4)
    torch.manual_seed(0)
    expected = draw(batch).unflatten(0, (7, -1))
    after = torch.get_rng_state()
    for rank in range(3):
        workers = Workers(rank, 3)
        part, _ = workers.share(7)
        torch.manual_seed(0)
        with workers.noise_of(7):
            drawn = draw(batch[part])
        assert torch.equal(drawn.unflatten(0, (len(batch[part]), -1)), expected[part])
        assert torch.equal(torch.get_rng_state(), after)


def test_other_noise_is_an_error() -> None:
    with Workers(0, 2).noise_of(6):
        with pytest.raises(NotImplementedError, match="must not be drawn by aten"):
            torch.randint(0, 2, (3,))
        with pytest.raises(NotImplementedError, match=r"3 rows of the batch first, got .* \[4\]"):
            torch.rand(4)
