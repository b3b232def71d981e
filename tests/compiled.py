"""Compiles for the tests, into ``build/tests``: what was compiled before is used again while no file has changed."""

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build/tests"


def headers(*folders: Path) -> list[Path]:
    """All files that sources may include from csrc and from other folders."""
    found = [path for folder in (ROOT / "csrc", *folders) for path in folder.rglob("*")]
    return sorted(path for path in found if path.suffix in (".h", ".inl", ".inc"))


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
