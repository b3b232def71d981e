"""Trains and scores the generated sample on a device, by the steps of the flows and without Prefect."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import pyarrow.parquet as pq

from flows.parameters import Execution, Processes, ReviewsData, ReviewsModel, ReviewsTraining
from flows.parameters.scoring import ScoreRequest
from flows.steps.prepare.check_data import check_reviews_data
from flows.steps.prepare.reviews import prepare
from flows.steps.prepare.settings import reviews_settings
from flows.steps.prepare.vocabulary import build_vocabulary
from flows.steps.score.files import score_files
from flows.steps.train.train import train
from rnnfast.evaluation.checks import Limits
from rnnfast.models.choices import DeviceChoice
from rnnfast.models.precision import DeviceError, find_device
from rnnfast.scoring.scorers import Scorer

PRECISIONS = ("fp32", "bf16")


def main(arguments: Sequence[str]) -> int:
    """Writes what was measured as JSON; 2 where there is no such device."""
    options = _options(arguments)
    try:
        find_device(options.device)
    except DeviceError as error:
        print(f"--{error}", file=sys.stderr)
        return 2
    rows = []
    for device in dict.fromkeys((options.device, *options.beside)):
        for precision in PRECISIONS:
            rows.append(measure(device, precision, options.epochs, options.cell))
            print(json.dumps(rows[-1]), flush=True)
            options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(device: DeviceChoice, precision: Any, epochs: int, cell: Any) -> dict[str, Any]:
    """One training and one scoring on a device."""
    with tempfile.TemporaryDirectory() as name:
        parts, run, cache, scores = (
            Path(name, each) for each in ("parts", "run", "cache", "scores")
        )
        for folder in (parts, run, cache):
            folder.mkdir()
        data = ReviewsData(dataset="sample")
        prepared = prepare(data, None, cache, parts)
        training = ReviewsTraining(**{"epochs": epochs, "precision": precision})
        settings = reviews_settings(data, ReviewsModel(cell=cell), training, prepared.facts)
        words = build_vocabulary(parts, settings.model, parts, Execution())
        processes = Processes(device=device)
        history = train(parts, words, settings, prepared.source, run, cache, processes).history
        _, profile = check_reviews_data(parts, prepared, words, settings.model, Limits(), False)
        profile.save(run)
        scorer = Scorer.load(run, precision, device)
        table = pq.read_table(parts / "test.parquet")
        scorer.score(table["text"])  # once for what is made ready at the first call
        started = perf_counter()
        found = scorer.score(table["text"])
        seconds = perf_counter() - started
        done = score_files(
            run,
            ScoreRequest(
                model=str(run),
                input=str(parts / "test.parquet"),
                output=str(scores),
                id_column="id",
                precision=precision,
                execution=Execution(device=device, workers=1),
            ),
            report=False,
        )
    labels = table["label"].to_numpy()
    return {
        "device": device,
        "precision": precision,
        "cell": settings.model.cell,
        "train_tokens_per_second": fmean(epoch["tokens_per_second"] for epoch in history),
        "score_reviews_per_second": len(table) / seconds,
        "files_reviews_per_second": done.rows / done.seconds,
        "accuracy": float(((found >= 0.5) == (labels == 1)).mean()),
    }


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check.sample", description=__doc__
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--beside", nargs="*", choices=("cpu", "cuda"), default=[])
    parser.add_argument("--cell", choices=("rnn", "gru", "lstm"), default="gru")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
