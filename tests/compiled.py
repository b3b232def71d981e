"""Compiles for the tests, into ``build/tests``: what was compiled before is used again while no file has changed."""

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build/tests"


def read_by(source: Path, *folders: Path) -> list[Path]:
    """A source and all files that it includes from csrc and from other folders, also by way of others.

    A name that several folders have counts in each of them, and what is included under a condition counts always.
    """
    found, left = {source}, [source]
    for path in left:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE):
            places = {folder / name for folder in (path.parent, ROOT / "csrc", *folders)}
            new = {place.resolve() for place in places if place.is_file()} - found
            found |= new
            left += sorted(new)
    return sorted(found)


def made(
    name: str, suffix: str, command: Sequence[str | Path], files: Sequence[Path], output: str = "-o"
) -> tuple[Path, str]:
    """A file that the command makes, unless it did so when its arguments and the files were as they are.

    Args:
        name: how the file's name begins; files of that name from another state are taken away.
        suffix: how it ends.
        command: a compiler and its arguments, but for the output.
        files: what the command reads.
        output: the argument before the output's path.

    Returns:
        The file, and what the compiler said.

    Raises:
        RuntimeError: with what the compiler said.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    arguments = [str(argument) for argument in command]
    digest = hashlib.sha256(repr([arguments, _version(arguments[0])]).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    stamp = digest.hexdigest()[:16]
    file, said = FOLDER / f"{name}-{stamp}{suffix}", FOLDER / f"{name}-{stamp}.said"
    if file.exists() and said.exists():
        return file, said.read_text()
    part = FOLDER / f"{file.name}.{os.getpid()}"
    done = subprocess.run([*arguments, output, str(part)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")
    for ending in (suffix, ".said"):
        for old in FOLDER.glob(f"{name}-{'?' * len(stamp)}{ending}"):
            old.unlink(missing_ok=True)
    said.write_text(done.stdout + done.stderr)
    return part.rename(file), said.read_text()


def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
