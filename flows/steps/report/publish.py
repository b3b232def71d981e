"""The folder of a run: built out of sight, and there only when it is whole."""

import glob
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flows import REPORT
from flows.errors import InputError
from flows.store.json_files import read_json, write_json
from flows.store.locks import locked
from flows.unfinished import at_end
from rnnfast.training.run_folder import CONFIG

if TYPE_CHECKING:
    from rnnfast.reports.pages import Picture

PARTS_FOLDER = "parts"  # what only the steps need; gone when the run is published


def dated(output: Path) -> Path:
    """The folder of a run with the present time in place of `{time}`, so that a job that comes again has a new one."""
    return Path(str(output).replace("{time}", f"{datetime.now():%Y%m%d-%H%M%S}"))


@contextmanager
def new_run(output: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `output` to build a run in, `parts` inside it; gone after the block.

    What jobs that were killed have left of a run at `output` goes, too.

    Raises:
        InputError: `output` is taken.
    """
    for left in partial_runs(output.parent, glob.escape(output.name)):
        sweep_run(left)
    check_output(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    run = _sibling(output)
    with at_end(partial(shutil.rmtree, run, ignore_errors=True)):
        (run / PARTS_FOLDER).mkdir(parents=True)
        with locked(run, must=False):
            yield run


def partial_runs(folder: Path, name: str = "*") -> list[Path]:
    """The hidden folders of unfinished runs in a folder, which jobs that run may be at; `name` is a glob."""
    return sorted(folder.glob(f".{name}.????????.partial"))


def sweep_run(left: Path) -> bool:
    """Removes an unfinished run unless a job is at it; returns whether it is gone.

    A whole run that was moved away for another one, which never came, is put back.
    """
    try:
        with locked(left, wait=False, must=False) as free:
            if not free:
                return False
            output = left.with_name(left.name[1:].rsplit(".", 2)[0])
            if (
                (left / REPORT).is_file()
                and not (left / PARTS_FOLDER).exists()
                and not output.exists()
            ):
                left.rename(output)
            else:
                shutil.rmtree(left)
    except FileNotFoundError:  # somebody else was faster
        return False
    return True


def remove_run(run: Path) -> None:
    """Removes the folder of a run; whenever the process is killed, it is there as a whole or not at all."""
    gone = _sibling(run)
    run.rename(gone)
    (gone / REPORT).unlink(missing_ok=True)  # so that nobody takes it for one to put back
    shutil.rmtree(gone)


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


def finish(
    run: Path, metrics: Mapping[str, Any], seconds: Mapping[str, float]
) -> tuple["Picture", ...]:
    """Writes the metrics of a run, and its report.

    Args:
        run: the folder from `new_run`, with model and scores.
        metrics: all of them.
        seconds: what each stage took, for the metrics.

    Returns:
        The plots of the report.
    """
    # Here, since it draws: whoever looks at a folder alone does not wait for the libraries of that.
    from rnnfast.reports.language import write_language_report
    from rnnfast.reports.training import write_report

    whole = {**metrics, "seconds": seconds}
    write_json(run / "metrics.json", whole)
    config = read_json(run / CONFIG)
    write = write_language_report if config.get("kind") == "language" else write_report
    return write(run / REPORT, config, whole)


def publish(run: Path, output: Path, overwrite: bool) -> Path:
    """Moves a finished run to its place, without its parts.

    Args:
        run: the folder from `new_run`.
        output: its place.
        overwrite: whether a run that is there is replaced.

    Returns:
        `output`.
    """
    shutil.rmtree(run / PARTS_FOLDER)
    check_output(output, overwrite)
    with replaced(output):
        run.rename(output)
    return output


@contextmanager
def replaced(output: Path) -> Iterator[None]:
    """Moves away what is at `output`: removed after the block, or back where nothing came instead."""
    old = _sibling(output)

    def settle() -> None:
        if old.exists() and not output.exists():
            old.rename(output)
        shutil.rmtree(old, ignore_errors=True)

    with at_end(settle):
        if output.exists():
            output.rename(old)
        yield


def _sibling(output: Path) -> Path:
    return output.with_name(f".{output.name}.{uuid4().hex[:8]}.partial")
