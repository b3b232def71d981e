"""The step that trains: its files, its checkpoints, and the processes that it starts."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from torch import Tensor
from typer.testing import Result

from flows.datasets.base import SCHEMA, write_reviews
from flows.errors import FlowError, WorkerError
from flows.parameters import NOT_BY_STEPS, Processes, SensorsData
from flows.steps.prepare.encode import IDS, OFFSETS, encode, open_encoded
from flows.steps.prepare.gather import RUN_RECORD, TIMES, VALUES, open_readings
from flows.steps.prepare.series import prepare_series
from flows.steps.prepare.settings import ReviewsSettings, SensorsSettings
from flows.steps.train import workers as train_workers
from flows.steps.train.checkpoints import checkpoint_of
from flows.steps.train.job import ReviewsJob
from flows.steps.train.train import train, train_windows
from flows.steps.train.worker import HISTORY, REPORTS, WorkOrder, work
from flows.steps.train.workers import follow, train_together
from rnnfast.labels import classes_of
from rnnfast.models.choices import TextCell, WindowCell
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import WideAndDeep, build_model
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.windows import build_window_model
from rnnfast.scoring.scorers import Scorer
from rnnfast.text.vocabulary import Vocabulary, vectorize
from rnnfast.training.checkpoint import Checkpoint
from rnnfast.training.loop import DivergedError, Progress, fit, trained_by_steps
from rnnfast.training.settings import TrainingSettings, WindowTraining
from rnnfast.training.weighing import compared
from rnnfast.training.workers import Workers

WORDS = Vocabulary(["[UNK]", "pad", *(f"w{i}" for i in range(30))])
MODEL = ModelConfig(embedding_size=6, hidden_size=5, sequence_length=12)
SETTINGS = TrainingSettings(epochs=3, batch_size=10)

# Trains in a process of its own: parts, run and cache; how many workers.
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[5])
from flows.orchestration.interrupt import ended_by_signals
from flows.parameters import Processes
from flows.steps.train import checkpoints
from flows.steps.prepare.settings import ReviewsSettings
from flows.steps.train.train import train
from test_train import MODEL, SETTINGS
checkpoints.SECONDS = 0.0
parts, run, cache = map(Path, sys.argv[1:4])
settings = SETTINGS.model_copy(update={"epochs": 1000})
with ended_by_signals():
    train(parts, parts / "vocabulary.txt", ReviewsSettings(MODEL, settings), {}, run, cache,
          Processes(workers=sys.argv[4]))
"""


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """The parts of a job, of 120 and 40 rows, and a vocabulary."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for seed, (name, rows) in enumerate((("train", 120), ("validation", 40))):
        write_reviews(table_of(rows, seed), ("bad", "good"), folder / f"{name}.parquet")
    WORDS.save(folder / "vocabulary.txt")
    return folder


def table_of(rows: int, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    texts = [
        " ".join(f"w{i}" for i in generator.integers(0, 40, generator.integers(0, 20)))
        for _ in range(rows)
    ]
    ids = [str(i) for i in range(rows)]
    columns = [ids, texts, generator.integers(0, 2, rows), [None] * rows]
    return pa.table(columns, schema=SCHEMA)


@pytest.fixture
def job(parts: Path, tmp_path: Path) -> ReviewsJob:
    return job_of(parts, tmp_path / "ids")


def job_of(parts: Path, ids: Path, **settings: Any) -> ReviewsJob:
    digests = [
        encode(parts / f"{p}.parquet", WORDS, MODEL, ids / p) for p in ("train", "validation")
    ]
    return ReviewsJob(
        parts=ids,
        data_digest="-".join(digests),
        model=MODEL,
        training=SETTINGS.model_copy(update=settings),
        vocabulary_size=len(WORDS),
        target=classes_of(("bad", "good")),
    )


def weights_of(run: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(run / "model.safetensors")


def train_into(run: Path, parts: Path, cache: Path, **options: Any) -> dict[str, Tensor]:
    return trained(run, parts, cache, **options)[0]


def trained(
    run: Path, parts: Path, cache: Path, **options: Any
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The weights and the history."""
    run.mkdir()
    settings = ReviewsSettings(MODEL, SETTINGS)
    made = train(parts, parts / "vocabulary.txt", settings, {}, run, cache, **options)
    return weights_of(run), made.history


def ignore(_: Progress) -> None:
    pass


# The files of ids.


@pytest.mark.parametrize("choose", [True, False])
@pytest.mark.parametrize("gain", [-0.5, 0.5])
def test_n_grams_are_kept_alone_where_the_rest_adds_nothing(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: float, choose: bool
) -> None:
    module = sys.modules[train.__module__]
    monkeypatch.setattr(module, "compared", lambda *a: compared(*a) | {"gain": gain})
    settings = ReviewsSettings(
        MODEL.model_copy(update={"wide": True, "max_pairs": 50}), SETTINGS, choose
    )
    run, whole = tmp_path / "run", tmp_path / "whole"
    run.mkdir()
    whole.mkdir()
    words, cache = parts / "vocabulary.txt", tmp_path / "cache"
    figures = train(parts, words, settings, {}, run, cache).parts["parts"]
    train(parts, words, replace(settings, choose=False), {}, whole, cache)
    scorer = Scorer.load(run)
    alone = choose and gain < 0
    assert scorer.config.cell == figures["kept"] == ("ngrams" if alone else "rnn")
    assert scorer.config.wide is not alone
    texts = ["w1 w2 w3", "w9", ""]
    other = Scorer.load(whole)
    assert isinstance(other.model, WideAndDeep)
    expected = replace(other, model=other.model.wide) if alone else other
    np.testing.assert_array_equal(scorer.score(texts), expected.score(texts))


@pytest.mark.parametrize("chunk", [7, 4096])
def test_ids_are_those_of_the_texts(
    parts: Path, tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.steps.prepare.encode.ENCODING_BATCH", chunk)
    encode(parts / "train.parquet", WORDS, MODEL, tmp_path / "ids")
    rows = open_encoded(tmp_path / "ids", MODEL)
    table = pq.read_table(parts / "train.parquet")
    ids, lengths = vectorize(table["text"], WORDS, 12)
    found, found_lengths = rows.take(torch.arange(120), 12)
    assert torch.equal(found, ids)
    assert torch.equal(found_lengths, lengths)
    assert rows.labels.tolist() == table["label"].to_pylist()
    assert (tmp_path / "ids" / IDS).stat().st_size == 4 * lengths.sum()


@pytest.mark.parametrize("cell", ["mlp", "rnn"])
def test_models_that_read_the_padding_get_all_of_it(job: ReviewsJob, cell: str) -> None:
    config = MODEL.model_copy(update={"cell": cell, "read_padding": cell == "rnn"})
    rows = open_encoded(job.parts / "train", config)
    assert rows.take(rows.lengths(torch.arange(120)).argmin()[None])[0].shape == (1, 12)


def test_files_of_more_than_the_memory_are_mapped(job: ReviewsJob, tmp_path: Path) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = 8 * memory // 16 * 16
    for name in (VALUES, TIMES):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # a hole: it takes no space
    record = {
        "channels": 2,
        "runs": [],
        "groups": [],
        "labels": [],
        "group_names": [],
        "report": {},
    }
    (tmp_path / RUN_RECORD).write_text(json.dumps(record))
    assert open_readings(tmp_path).tensor()[-1].tolist() == [0, 0]
    with (job.parts / "train" / IDS).open("r+b") as file:
        file.truncate(size)
    with (job.parts / "train" / OFFSETS).open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write((size // 4).to_bytes(8, "little"))
    rows = open_encoded(job.parts / "train", MODEL)
    assert int(rows.ids[-1]) == 0


@pytest.mark.parametrize(
    "change",
    [{"model": MODEL.model_copy(update={"dropout": 0.1})},
     {"training": SETTINGS.model_copy(update={"seed": 1})},
     {"data_digest": "another"}, {"vocabulary_size": 9}],
)  # fmt: skip
def test_another_training_has_another_key(job: ReviewsJob, change: dict[str, Any]) -> None:
    assert job.key == job.model_copy(update={"parts": Path("elsewhere")}).key
    assert job.key != job.model_copy(update=change).key


# Checkpoints.


def test_a_killed_job_goes_on(
    parts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    with checkpointed_driver(parts, tmp_path, workers=1) as driver:
        driver.kill()
    # The driver was to train for longer: its checkpoint as if it had been this training.
    [saved] = (cache / "checkpoints").iterdir()
    long = job_of(parts, tmp_path / "ids", epochs=1000)
    assert saved.name == long.key
    with caplog.at_level(logging.INFO), checkpoint_of(long.key, cache) as checkpoint:
        assert "training goes on after epoch" in caplog.text
        assert checkpoint is not None
        state = checkpoint.parsed(checkpoint.read())
    assert state is not None
    assert state.record["step"] > 0
    assert not saved.exists()


def test_training_goes_on_from_the_cache(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train_into(tmp_path / "a", parts, tmp_path / "other")
    job = job_of(parts, tmp_path / "ids")
    steps: list[Progress] = []

    def stop(progress: Progress) -> None:
        steps.append(progress)
        if len(steps) == 17:
            raise InterruptedError

    monkeypatch.setattr("flows.steps.train.checkpoints.SECONDS", 0.0)
    with suppress(InterruptedError), checkpoint_of(job.key, tmp_path) as checkpoint:
        fit(*job.begin(), SETTINGS, stop, checkpoint)
    assert len(steps) == 17
    found = train_into(tmp_path / "b", parts, tmp_path)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_broken_checkpoint_is_left_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints" / "key"
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(b"half")
    with checkpoint_of("key", tmp_path) as checkpoint:
        assert checkpoint is not None
        assert checkpoint.read() == b""
    assert "must be a whole checkpoint" in caplog.text
    assert "training starts anew" in caplog.text


def test_two_jobs_do_not_share_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with checkpoint_of("key", tmp_path) as first, checkpoint_of("key", tmp_path) as second:
        assert first is not None
        assert second is None
    assert "another job trains the same" in caplog.text
    with checkpoint_of("key", tmp_path) as third:
        assert third is not None


def test_a_training_that_diverged_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError), checkpoint_of("key", tmp_path):
        raise DivergedError("diverged")
    assert list((tmp_path / "checkpoints").iterdir()) == []


# Workers.


def test_workers_give_what_one_process_gives(
    parts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, a = trained(tmp_path / "a", parts, tmp_path / "cache")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        found, b = trained(
            tmp_path / "b", parts, tmp_path / "cache", processes=Processes(workers=2)
        )
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
    for one, two in zip(a, b, strict=True):
        assert one["validation_loss"] == pytest.approx(two["validation_loss"], rel=1e-5)
    assert caplog.text.count("epoch 3: loss") == 1
    assert sorted(path.name for path in parts.iterdir()) == [
        "train.parquet", "validation.parquet", "vocabulary.txt"]  # fmt: skip


def workers_below(folder: Path) -> dict[int, str]:
    """The processes that were told of a file below a folder: their ids, and which worker each is."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{folder}/".encode() in (path / "cmdline").read_bytes():
                names = dict(
                    line.partition(b"=")[::2]
                    for line in (path / "environ").read_bytes().split(b"\0")
                )
                found[int(path.name)] = names.get(b"LOCAL_RANK", b"agent").decode()
    return found


@pytest.mark.parametrize("victim", ["0", pytest.param("1", marks=pytest.mark.soak)])
def test_a_killed_worker_changes_nothing(
    job: ReviewsJob, tmp_path: Path, caplog: pytest.LogCaptureFixture, victim: str
) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint", job.key, 0)
    killed: list[Progress] = []

    def kill(progress: Progress) -> None:
        if not killed and progress.rows_done > 120:
            killed.append(progress)
            pids = [pid for pid, rank in workers_below(job.parts).items() if rank == victim]
            os.kill(pids[0], signal.SIGKILL)

    # So slow that the news of a step come before the end.
    model, *_ = job.begin()
    long = job.model_copy(update={"training": SETTINGS.model_copy(update={"epochs": 30})})
    history = train_together(model, long, checkpoint, Processes(workers=2), kill)
    assert killed
    assert "a worker was lost" in caplog.text
    expected, rows, validation = long.begin()
    expected_history = fit(expected, rows, validation, long.training)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)
    assert len(history) == len(expected_history) == 30


def test_workers_that_fail_are_an_error(
    job: ReviewsJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(train_workers, "RESTARTS", 0)
    model, *_ = job.begin()
    (job.parts / "train" / IDS).unlink()
    with pytest.raises(WorkerError, match="--workers: the processes that train ended with code 1"):
        train_together(model, job, None, Processes(workers=1), ignore)
    assert IDS in caplog.text


def test_a_worker_reports(job: ReviewsJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    wild = SETTINGS.model_copy(update={"learning_rate": 1e38})
    reports = {}
    for name, settings in (("calm", SETTINGS), ("wild", wild)):
        folder = job.parts / name
        folder.mkdir()
        order_job = job.model_copy(update={"training": settings})
        work(WorkOrder(job=order_job, checkpoint=None, folder=folder), Workers())
        reports[name] = [json.loads(line) for line in (folder / REPORTS).read_text().splitlines()]
        assert (folder / HISTORY).exists() == (name == "calm")
        assert reports[name][0] == {"restarts": 1}
    assert reports["calm"][-1]["progress"]["rows_done"] == 360
    with pytest.raises(DivergedError, match="training diverged in epoch 1"):
        follow([json.dumps(reports["wild"][-1])], ignore)


class checkpointed_driver:  # noqa: N801
    """A process that trains for long, once it has written a checkpoint; killed at the end."""

    def __init__(self, parts: Path, folder: Path, workers: int) -> None:
        (folder / "run").mkdir()
        arguments = [parts, folder / "run", folder / "cache", workers, Path(__file__).parent]
        self.cache = folder / "cache"
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> subprocess.Popen[str]:
        while not list(self.cache.glob("checkpoints/*/*.safetensors")):
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGTERM, signal.SIGKILL]
)
def test_the_workers_end_with_the_job(parts: Path, tmp_path: Path, number: signal.Signals) -> None:
    with checkpointed_driver(parts, tmp_path, workers=2) as driver:
        assert sorted(workers_below(parts).values()) == ["0", "1", "agent"]
        driver.send_signal(number)
        _, stderr = driver.communicate(timeout=30)
        if number != signal.SIGKILL:
            assert driver.returncode == 128 + number
            assert stderr == f"Error: interrupted by {number.name}\n"
        for _ in range(200):
            if not workers_below(parts):
                break
            time.sleep(0.05)
        assert workers_below(parts) == {}


@pytest.mark.parametrize("same", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_two_machines(parts: Path, tmp_path: Path, same: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = Processes(nodes=2, rendezvous=f"127.0.0.1:{port}")
    jobs = [job_of(parts, tmp_path / name, seed=0 if same else i) for i, name in enumerate("ab")]
    models = [job.begin()[0] for job in jobs]
    errors: list[Exception] = []

    def run(place: int) -> None:
        try:
            train_together(models[place], jobs[place], None, processes, ignore)
        except FlowError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if not same:
        assert len(errors) == 2
        assert "--nodes: all machines must have the same data" in str(errors[0])
        return
    assert errors == []
    expected, rows, validation = jobs[0].begin()
    fit(expected, rows, validation, SETTINGS)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(models[0].state_dict()[name], models[1].state_dict()[name])
        torch.testing.assert_close(models[0].state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_torchrun_is_not_waited_for_when_all_is_done(tmp_path: Path) -> None:
    """It waits minutes for the torchrun of a machine that is done and gone."""
    (tmp_path / HISTORY).write_text("[]")
    started = time.monotonic()
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert train_workers._run(command, tmp_path, {}, ignore) is None
    assert time.monotonic() - started < 15


# The command line.


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--workers", "0"], "--workers must be greater than or equal to 1, got '0'"),
        (["--workers", "many"], "--workers must "),
        (
            ["--nodes", "2"],
            "--rendezvous must be given for nodes above 1, and for these alone, got: none for nodes 2",
        ),
        (["--rendezvous", "a:1"], "for these alone, got: a:1 for nodes 1"),
        (["--nodes", "2", "--rendezvous", "here"], "--rendezvous must "),
        (
            ["--nodes", "2", "--rendezvous", "a:1", "--cell", "ngrams"],
            "--nodes must be 1 for --cell ngrams, which is not trained by steps, got 2",
        ),
        (["--workers", "65"], "must be at most the batch size, 64, got 65"),
    ],
)
def test_wrong_options(
    server: None, run_cli: Callable[..., Result], tmp_path: Path, options: list[str], part: str
) -> None:
    result = run_cli("reviews", *options, "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert part in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_cells_that_are_not_trained_by_steps() -> None:
    def by_steps(cell: str) -> Iterator[bool]:
        with suppress(ValueError):
            yield trained_by_steps(build_model(ModelConfig(cell=cell), 5))  # type: ignore[arg-type]
        with suppress(ValueError):
            config = WindowConfig(cell=cell)  # type: ignore[arg-type]
            yield trained_by_steps(build_window_model(config, 1, (0,)))

    cells = {*get_args(TextCell), *get_args(WindowCell)}
    assert {cell for cell in cells if not all(by_steps(cell))} == set(NOT_BY_STEPS)


def test_sensors_on_two_workers(
    server: None, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    lines = ["time,a,b"]
    for i in range(300):
        lines.append(f"{1_700_000_000 + i * 60},{np.sin(i / 5)},{np.cos(i / 7)}")
    (tmp_path / "readings.csv").write_text("\n".join(lines) + "\n")
    source = tmp_path / "readings.csv"
    sizes = {"lookback": 8, "hidden_size": 4, "period": 4}
    sets = [word for name, size in sizes.items() for word in ("--set", f"{name}={size}")]
    options = ["--cell", "gru", "--epochs", 2, *sets, "--workers", 2, "--output", tmp_path / "run"]
    result = run_cli("sensors", "--dataset", source, *options)
    assert result.exit_code == 0, result.output

    settled = json.loads((tmp_path / "run" / "config.json").read_text())
    config = WindowConfig.model_validate(settled["model"])
    for name in ("parts", "alone"):
        (tmp_path / name).mkdir()
    parts = tmp_path / "parts"
    prepared = prepare_series(SensorsData(dataset=str(source)), None, lambda _: config, parts)
    training = WindowTraining.model_validate(settled["training"])
    settings = SensorsSettings(config, training)
    train_windows(parts, prepared, settings, tmp_path / "alone", tmp_path / "cache")
    found = weights_of(tmp_path / "run")
    for name, tensor in weights_of(tmp_path / "alone").items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
