"""Builds the CUDA kernels for the emulator of ``tests/csrc/emulator``, for tests where no GPU is."""

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build/emulated"
EMULATOR = ROOT / "tests/csrc/emulator"
KERNELS = (*sorted(ROOT.glob("csrc/cuda/*.cu")), EMULATOR / "emulator.cpp")
FLAGS = (
    *("-std=c++20", "-O1", "-fPIC", "-Wall", "-Wextra", "-Werror", "-pthread"),
    "-U_FORTIFY_SOURCE",  # the emulator leaps between stacks, which a fortified longjmp forbids
    *(f"-I{EMULATOR}", f"-I{ROOT / 'csrc'}"),
)


def shared_object(name: str, *sources: Path, flags: tuple[str, ...] = ()) -> Path:
    """A shared library of the sources and the emulated kernels, in ``build/emulated``.

    What was compiled before is used again as long as no file has changed.

    Args:
        name: of the library, without an ending.
        sources: C++ files beside the kernels.
        flags: for compiling them and for linking, beside those that the kernels need.

    Raises:
        RuntimeError: with what the compiler said.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    headers = [*ROOT.glob("csrc/**/*.h"), *ROOT.glob("csrc/**/*.inl"), *EMULATOR.rglob("*.h")]
    jobs = [(path, "kernels", FLAGS) for path in KERNELS]
    jobs += [(path, name, (*FLAGS, *flags)) for path in sources]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda job: _compile(*job, headers), jobs))
    return _made(
        f"{name}-",
        ".so",
        [*objects, *flags],
        lambda to: ("g++", "-shared", "-pthread", *objects, *flags, "-o", to),
    )


def _compile(source: Path, group: str, flags: tuple[str, ...], headers: list[Path]) -> Path:
    return _made(
        f"{group}-{source.stem}-",
        ".o",
        [source.read_bytes(), *(path.read_bytes() for path in sorted(headers)), flags],
        lambda to: ("g++", *flags, "-x", "c++", "-c", source, "-o", to),
    )


def _made(prefix: str, suffix: str, state: list, command) -> Path:
    """A file that the command makes unless it did so in this state; those of other states are taken away."""
    stamp = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
    made = FOLDER / f"{prefix}{stamp}{suffix}"
    if made.exists():
        return made
    part = FOLDER / f"{made.name}.{os.getpid()}"
    arguments = [str(argument) for argument in command(part)]
    result = subprocess.run(arguments, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{result.stderr}")
    for old in FOLDER.glob(f"{prefix}{'?' * len(stamp)}{suffix}"):
        old.unlink(missing_ok=True)
    return part.rename(made)
