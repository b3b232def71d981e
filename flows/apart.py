"""Keeps what a job reads apart from what it writes: a file that it wrote must never come back to it as input."""

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pyarrow import fs

from flows import REPORT
from flows.errors import InputError
from flows.parameters import ReviewsData, SensorsData, TextsData
from flows.store.storage import File, Folder, glob_signs, is_hidden, located, matches, redacted
from flows.tables.inputs import find_files
from rnnfast.training.run_folder import CONFIG, PROFILE, VOCABULARY, WEIGHTS

_DIGEST = "0" * 16  # in place of that of a shard's content
RUN_FILES = (WEIGHTS, CONFIG, VOCABULARY, PROFILE, REPORT, "metrics.json")


def shard_files(files: Iterable[File]) -> Iterator[str]:
    """Names of files that the scores of some files may have, below the output folder."""
    yield from ("manifest.json", "drift.json", "report.html", "runs/1.json")
    for stem in {file.name.split(".")[0] for file in files} | {"partition"}:
        key = f"{stem}-{_DIGEST}"
        yield from (f"{key}.parquet", f"{key}.json", f"tally/{key}.json", f"rejected/{key}.jsonl")


def require_data_apart(data: ReviewsData | SensorsData | TextsData, output: Path) -> None:
    """Raises InputError unless the files to train on are there, and apart from the folder of the run."""
    written = [*RUN_FILES, *(f"scores/{name}" for name in shard_files([]))]
    written.append(f"scores/test-{_DIGEST}.parquet")
    for argument, pattern in data.own_files.items():
        require_apart(
            argument,
            pattern,
            find_files(pattern, argument, data.kinds, data.reading),
            output,
            written,
        )


def require_apart(
    argument: str,
    pattern: str,
    files: Sequence[File],
    output: Path | str | Folder,
    written: Iterable[str],
) -> None:
    """Raises InputError where an address names files of the output folder, or would name them after the job.

    Symbolic links are followed, so that it does not matter how either is written.

    Args:
        argument: what the command line calls the address.
        pattern: the address of the input: a file, a folder or a glob.
        files: that it names.
        output: the output folder.
        written: names of files that the job may write, below the output folder.
    """
    folder = output if isinstance(output, Folder) else Folder.at(output, "--output")
    scheme = pattern.partition("://")[0] if "://" in pattern else "file"
    if folder.is_local and scheme != "file":
        return  # without a question to an object store
    system, path = located(pattern, argument)
    if system.type_name != folder.system.type_name:
        return
    into = _real(folder.system, folder.path)
    inside = next((f for f in files if is_within(_real(f.system, f.path), into)), None)
    if inside is not None:
        raise InputError(
            f"{argument} must name no file of --output {folder}, {redacted(pattern)!r} names {inside}; "
            "choose an --output apart from the input"
        )
    read, signs = glob_signs(path)
    read = _real(system, read)
    if not is_within(into, read):
        return
    below = into[len(read) :].strip("/")
    names = (posixpath.join(below, name) for name in written)
    # Of a folder everything is read but what is hidden.
    if any(matches(name.split("/"), signs) if signs else not is_hidden(name) for name in names):
        raise InputError(
            f"{argument} must not name what the job writes, {redacted(pattern)!r} would name files in "
            f"--output {folder} the next time; choose an --output apart from the input"
        )


def require_outside_models(model: str, registry: Path, output: str) -> None:
    """Raises InputError where the output folder is that of a model, or in it.

    Args:
        model: folder of a run or of a model, or a name in the registry.
        registry: its folder.
        output: the output folder.
    """
    folder = Folder.at(output, "--output")
    into = _real(folder.system, folder.path)
    for path in (Path(model).expanduser(), registry / model):
        if folder.is_local and path.is_dir() and is_within(into, os.path.realpath(path)):
            raise InputError(
                f"--output must not be in the folder of the model, {path}, got {output!r}; "
                "choose a folder of its own for the scores"
            )


def is_within(path: str, folder: str) -> bool:
    """Whether a path is that of a folder, or of what is below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _real(system: fs.FileSystem, path: str) -> str:
    is_local = isinstance(system, fs.LocalFileSystem)
    return os.path.realpath(path) if is_local else path.rstrip("/")
