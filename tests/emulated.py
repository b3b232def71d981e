"""Builds the CUDA kernels for the emulator of ``tests/csrc/emulator``, for tests where no GPU is."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compiled import made, read_by

ROOT = Path(__file__).parent.parent
EMULATOR = ROOT / "tests/csrc/emulator"
KERNELS = (*sorted(ROOT.glob("csrc/cuda/*.cu")), EMULATOR / "emulator.cpp")
FLAGS = (
    *("-std=c++20", "-O1", "-fPIC", "-Wall", "-Wextra", "-Werror", "-pthread"),
    "-U_FORTIFY_SOURCE",  # the emulator leaps between stacks, which a fortified longjmp forbids
    *(f"-I{EMULATOR}", f"-I{ROOT / 'csrc'}"),
)


def shared_object(name: str, *sources: Path, flags: tuple[str, ...] = ()) -> Path:
    """A shared library of the sources and the emulated kernels, in ``build/tests``.

    Args:
        name: of the library, without an ending.
        sources: C++ files beside the kernels.
        flags: for compiling them and for linking, beside those that the kernels need.

    Raises:
        RuntimeError: with what the compiler said.
    """
    jobs = [(path, "kernels", FLAGS) for path in KERNELS]
    jobs += [(path, name, (*FLAGS, *flags)) for path in sources]

    def compile_one(job: tuple[Path, str, tuple[str, ...]]) -> Path:
        source, group, options = job
        command = ("g++", *options, "-x", "c++", "-c", source)
        return made(f"{group}-{source.stem}", ".o", command, read_by(source, EMULATOR))[0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, jobs))
    return made(name, ".so", ("g++", "-shared", "-pthread", *objects, *flags), objects)[0]
