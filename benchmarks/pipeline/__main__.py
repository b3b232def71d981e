"""Reviews from Parquet to Parquet beside what people use for it: `make bench-pipeline`.

The reviews are those of IMDB, from the archive in the folder that RNNFAST_MIRROR names, repeated with changes. Beside
fastText stands the default model, trained here; all else is measured with a tanh RNN of 128 units. Contenders run in
turn, each in a process of its own; medians are compared.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Annotated, Any
from unittest.mock import patch

import pyarrow.parquet as pq
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.pipeline.data import write_reviews
from benchmarks.pipeline.measure import run
from flows import REPORT
from flows.parameters import Execution, ReviewsData, ReviewsModel, ReviewsTraining, ScoreRequest
from flows.steps.prepare.reviews import prepare
from flows.steps.prepare.settings import reviews_settings
from flows.steps.prepare.vocabulary import build_vocabulary
from flows.steps.score.files import score_files
from flows.steps.train.train import train
from rnnfast.models.config import ModelConfig
from rnnfast.models.texts import build_model
from rnnfast.nn import ops
from rnnfast.scoring import scorers
from rnnfast.scoring.scorers import Scorer, save_run
from rnnfast.text import vocabulary
from rnnfast.text.vocabulary import Vocabulary
from rnnfast.training.settings import TrainingSettings

PARTS = ("script", "kernel", "fasttext", "memory", "workers", "ray")
HERE = Path(__file__).parent
FEW = 20_000  # reviews that the usual script scores: its speed does not depend on the number

console = Console()


def main(
    mirror: Annotated[
        Path, typer.Option(envvar="RNNFAST_MIRROR", help="folder with aclImdb_v1.tar.gz")
    ],
    parts: Annotated[
        list[str] | None, typer.Option("--part", help=f"{', '.join(PARTS)}; by default all")
    ] = None,
    work: Annotated[Path, typer.Option(help="folder for data and outputs")] = Path(
        "build/pipeline"
    ),
    rows: Annotated[int, typer.Option(min=1, help="reviews")] = 1_000_000,
    more_rows: Annotated[int, typer.Option(min=1, help="for the peak of memory")] = 5_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="of each contender")] = 3,
) -> None:
    """Reviews from Parquet to Parquet beside what people use for it."""
    work.mkdir(parents=True, exist_ok=True)
    data = prepared(mirror, work)
    folder = saved(ModelConfig(), data, work / "128")  # a tanh RNN of 128 units on vectors of 128
    texts = pq.read_table(data / "test.parquet", columns=["text"])["text"].to_pylist()
    many = write_reviews(texts, rows, work / f"reviews-{rows}.parquet")
    calls: dict[str, Callable[[], None]] = {
        "script": lambda: beside_script(folder, many, work, rounds),
        "kernel": lambda: share_of_kernel(folder, many, work),
        "fasttext": lambda: beside_fasttext(trained(data, work / "default"), data, rounds),
        "memory": lambda: peaks(folder, texts, (rows, more_rows), work),
        "workers": lambda: same_bytes(folder, texts, work),
        "ray": lambda: beside_ray(folder, many, work, rounds),
    }
    for part in parts or PARTS:
        if part not in calls:
            raise typer.BadParameter(f"--part must be one of {', '.join(PARTS)}, got {part!r}")
        calls[part]()


def prepared(mirror: Path, work: Path) -> Path:
    """The folder of IMDB's three parts."""
    folder = work / "imdb"
    if not (folder / "test.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        data = ReviewsData(dataset="imdb", mirror=str(mirror))
        prepare(data, mirror / "aclImdb_v1.tar.gz", work, folder)
    return folder


def saved(config: ModelConfig, data: Path, folder: Path) -> Path:
    """The folder of a model that nobody has trained: what it takes to score does not depend on the weights."""
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = Vocabulary.load(build_vocabulary(data, config, folder))
        save_run(
            folder, build_model(config, len(words)), words, config=config,
            training=TrainingSettings(), labels=("negative", "positive"), data={},
        )  # fmt: skip
    return folder


def trained(data: Path, folder: Path) -> Path:
    """The folder of the default model, trained on IMDB."""
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        settings = reviews_settings(ReviewsData(dataset="imdb"), ReviewsModel(), ReviewsTraining())
        vocabulary = build_vocabulary(data, settings.model, folder)
        train(data, vocabulary, settings, {}, folder, data.parent)
    return folder


def job(
    folder: Path, source: Path, target: Path, watched: bool = False, **execution: Any
) -> dict[str, Any]:
    """Scores into a folder that is new."""
    shutil.rmtree(target, ignore_errors=True)
    arguments = [str(folder), str(source), str(target), json.dumps(execution)]
    return run([sys.executable, "-m", "benchmarks.pipeline.job", *arguments], watched=watched)


def beside_script(folder: Path, many: Path, work: Path, rounds: int) -> None:
    """The whole job against a usual script, on all cores, in reviews a second."""
    rows, cores = pq.read_metadata(many).num_rows, os.cpu_count() or 1
    ours, theirs, first, check = [], [], [], work / "usual.parquet"
    script = [sys.executable, str(HERE / "usual_script.py"), str(folder), str(many), str(check)]
    for _ in range(rounds):
        done = job(folder, many, work / "out")
        ours.append(rows / done["seconds"])
        first.append(done["first_shard"])
        theirs.append(FEW / run([*script, str(FEW), str(cores)])["seconds"])
    differing = _differing(check, work / "out")
    table = Table("", "reviews/s", title=f"{rows:,} reviews, Parquet to Parquet, {cores} cores")
    table.add_row("rnnfast, start of its processes included", f"{median(ours):,.0f}")
    table.add_row("DataLoader and padded nn.RNN", f"{median(theirs):,.0f}")
    table.add_row(
        "times as fast", f"{median(a / b for a, b in zip(ours, theirs, strict=True)):.1f}"
    )
    console.print(table)
    console.print(f"seconds from the start of the process to the first shard: {median(first):.1f}")
    console.print(f"of {FEW:,} scores {differing:.2%} differ by more than 0.001 (other words)")


def _differing(theirs: Path, ours: Path) -> float:
    """The share of scores that are not the same."""
    wanted = pq.read_table(theirs)
    tables = [pq.read_table(path) for path in ours.glob("*.parquet")]
    found = {
        i: s
        for t in tables
        for i, s in zip(*(t[c].to_pylist() for c in ("id", "score")), strict=True)
    }
    pairs = zip(wanted["id"].to_pylist(), wanted["score"].to_pylist(), strict=True)
    return float(sum(abs(found[i] - score) > 1e-3 for i, score in pairs) / len(wanted))


def share_of_kernel(folder: Path, many: Path, work: Path) -> None:
    """How much of a job on one thread is spent in turning texts into ids and in the recurrent kernel."""
    spent = {"ids": 0.0, "kernel": 0.0}

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent[name] += perf_counter() - started

        return wrapped

    output = work / "out"
    shutil.rmtree(output, ignore_errors=True)
    request = ScoreRequest(
        model=str(folder), input=str(many), output=str(output), execution=Execution(workers=1)
    )
    ids = timed("ids", vocabulary.vectorize)
    kernel = timed("kernel", ops.pooled)
    with patch.object(scorers, "vectorize", ids), patch.object(ops, "pooled", kernel):
        done = score_files(folder, request)
    console.print(
        f"one process, {done.rows / done.seconds:,.0f} reviews/s: "
        f"{spent['ids'] / done.seconds:.0%} of the time in text to ids, "
        f"{spent['kernel'] / done.seconds:.0%} in the recurrent kernel"
    )


def beside_fasttext(folder: Path, data: Path, rounds: int) -> None:
    """Text to score in CPU time of one thread against fastText's prediction alone, and the accuracy of both."""
    torch.set_num_threads(1)
    test = pq.read_table(data / "test.parquet", columns=["text", "label"])
    scorer = Scorer.load(folder)
    scores = scorer.score(test["text"])
    right = ((scores >= 0.5) == test["label"].to_numpy()).mean()
    files = [str(data / f"{part}.parquet") for part in ("train", "test")]
    ours, theirs = [], []
    for _ in range(rounds):
        started = process_time()
        scorer.score(test["text"])
        ours.append(test.num_rows / (process_time() - started))
        peer = [sys.executable, str(HERE / "fasttext_peer.py"), *files]
        theirs.append(run(peer, {"PYTHONPATH": "."}))
    table = Table("", "accuracy", "reviews/s", title="IMDB, one thread")
    table.add_row("rnnfast, text to score", f"{right:.2%}", f"{median(ours):,.0f}")
    speed = median(each["per_second"] for each in theirs)
    accuracy = theirs[0]["accuracy"]
    table.add_row("fastText, of split text", f"{accuracy:.2%}", f"{speed:,.0f}")
    console.print(table)


def peaks(folder: Path, texts: list[str], sizes: tuple[int, int], work: Path) -> None:
    """The memory of all processes of a job, by the number of reviews."""
    table = Table("reviews", "peak", "reviews/s", title="memory, two workers")
    found = []
    for rows in sizes:
        source = write_reviews(texts, rows, work / f"reviews-{rows}.parquet")
        done = job(folder, source, work / "out", watched=True, workers=2)
        found.append(done["peak"])
        table.add_row(
            f"{rows:,}", f"{done['peak'] / 1e6:,.0f} MB", f"{rows / done['seconds']:,.0f}"
        )
    console.print(table)
    console.print(f"the larger one takes {max(found) / min(found) - 1:.1%} more")


def same_bytes(folder: Path, texts: list[str], work: Path) -> None:
    """That 1, 2 and 7 workers leave the same files, but for the report, which tells how long it took."""
    source = write_reviews(texts, 100_000, work / "reviews-100000.parquet")
    sums = {}
    for workers in (1, 2, 7):
        job(folder, source, work / "out", workers=workers, shard_rows=8192)
        digest = hashlib.sha256()
        files = (p for p in (work / "out").rglob("*") if p.is_file() and p.name != REPORT)
        for path in sorted(files):
            digest.update(path.name.encode() + path.read_bytes())
        sums[workers] = digest.hexdigest()[:16]
    console.print(f"all files of 1, 2 and 7 workers: {sums}")


def beside_ray(folder: Path, many: Path, work: Path, rounds: int) -> None:
    """Two workers of either executor."""
    found: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(rounds):
        for engine, seconds in found.items():
            seconds.append(job(folder, many, work / "out", engine=engine, workers=2)["seconds"])
    ratio = median(b / a for a, b in zip(*found.values(), strict=True))
    shown = ", ".join(f"{engine} {median(seconds):.1f} s" for engine, seconds in found.items())
    console.print(f"two workers, start-up included: {shown}; ray takes {ratio:.2f} of the time")


if __name__ == "__main__":
    typer.run(main)
