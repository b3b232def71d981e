"""The folder of a run: built out of sight, and there only when it is whole."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from flows.errors import InputError
from flows.unfinished import at_end
from rnnfast.report import write_report
from rnnfast.scoring import CONFIG

PARTS = "parts"  # what only the steps need; gone when the run is published


@contextmanager
def new_run(output: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `output` to build a run in, `parts` inside it; gone after the block.

    Raises:
        InputError: `output` is taken.
    """
    check_output(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    run = _beside(output)
    with at_end(partial(shutil.rmtree, run, ignore_errors=True)):
        (run / PARTS).mkdir(parents=True)
        yield run


def check_output(output: Path, overwrite: bool) -> None:
    """Raises InputError unless a run may take the place of whatever is at `output`."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not overwrite:
        raise InputError(
            f"--output must be new or an empty folder, or --overwrite given; {output} is neither"
        )
    if not (output / CONFIG).is_file():
        raise InputError(f"--overwrite only replaces the folder of a run, {output} has no {CONFIG}")


def publish(run: Path, output: Path, seconds: dict[str, float], overwrite: bool) -> Path:
    """Finishes a run and moves it to its place.

    Args:
        run: the folder from `new_run`, with model, metrics and scores.
        output: its place.
        seconds: what each stage took, for the metrics.
        overwrite: whether a run that is there is replaced.

    Returns:
        `output`.
    """
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    metrics["seconds"] = seconds
    (run / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_report(run / "report.html", config, metrics)
    shutil.rmtree(run / PARTS)
    check_output(output, overwrite)
    with replaced(output):
        run.rename(output)
    return output


@contextmanager
def replaced(output: Path) -> Iterator[None]:
    """Moves away what is at `output`: removed after the block, or back where nothing came instead."""
    old = _beside(output)

    def settle() -> None:
        if old.exists() and not output.exists():
            old.rename(output)
        shutil.rmtree(old, ignore_errors=True)

    with at_end(settle):
        if output.exists():
            output.rename(old)
        yield


def _beside(output: Path) -> Path:
    return output.with_name(f".{output.name}.{uuid4().hex[:8]}.partial")
