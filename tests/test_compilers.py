"""The kernels without torch and Python: from each compiler without a warning, and right on each target."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from compiled import made, read_by

import rnnfast

ROOT = Path(__file__).parent.parent
KERNELS = [
    ROOT / "csrc/cpu/targets.cpp",
    ROOT / "csrc/cpu/team.cpp",
    *sorted(ROOT.glob("csrc/cpu/targets/*.cpp")),
    ROOT / "tests/csrc/check_kernels.cpp",
]
INT8 = [*KERNELS[:-1], ROOT / "tests/csrc/check_int8.cpp"]
FOR_INT8 = {"avx512_vnni", "avx_vnni", "neon_dotprod"}
"""Targets that compute all else as another one does."""
TEXT = [
    *sorted(set(ROOT.glob("csrc/text/*.cpp")) - {ROOT / "csrc/text/module.cpp"}),
    ROOT / "tests/csrc/check_text.cpp",
]
FLAGS = ["-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-pthread", f"-I{ROOT / 'csrc'}"]
# Not optimized: that takes each compiler minutes, and what ships is tested through Python. `make soak` has it all.
QUICK, OPTIMIZED = "-O0", "-O1"


def first_of(*programs: str) -> str | None:
    return next(filter(None, map(shutil.which, programs)), None)


CLANG = first_of("clang++", *(f"clang++-{version}" for version in range(30, 13, -1)))
CROSS = "aarch64-linux-gnu-g++"
QEMU = first_of("qemu-aarch64", "qemu-aarch64-static")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


def compile_checker(
    compiler: str, standard: str, sources: list[Path], *flags: str, level: str = QUICK
) -> Path:
    def compile_one(source: Path) -> Path:
        # What checks is only slower where it is not optimized.
        own = OPTIMIZED if source == sources[-1] else level
        name = f"{Path(compiler).name}{own}-{source.stem}"
        command = (compiler, f"-std={standard}", own, *FLAGS, "-c", source)
        return made(name, ".o", command, read_by(source))[0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    name = f"{Path(compiler).name}{level}-{sources[-1].stem}"
    return made(name, "", (compiler, "-pthread", *flags, *objects), objects)[0]


def targets_found_right(result: subprocess.CompletedProcess[str]) -> tuple[str, ...]:
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert all(": right, " in line for line in lines), result.stdout
    return tuple(line.split(":")[0] for line in lines)


def require_compiler(compiler: str | None, package: str) -> str:
    if compiler is None:
        pytest.skip(f"needs a compiler (Debian package: {package})")
    return compiler


each_compiler = pytest.mark.parametrize(
    ("compiler", "package"),
    [
        pytest.param(shutil.which("g++"), "g++", id="g++"),
        pytest.param(CLANG, "clang", id="clang++"),
    ],
)


@pytest.mark.parametrize("level", [QUICK, pytest.param(OPTIMIZED, marks=pytest.mark.soak)])
@each_compiler
def test_every_target_of_this_machine_is_right(
    compiler: str | None, package: str, level: str
) -> None:
    compiler = require_compiler(compiler, package)
    result = run(compile_checker(compiler, "c++20", KERNELS, level=level))
    assert sorted(targets_found_right(result)) == sorted({*rnnfast.cpu_targets()} - FOR_INT8)
    result = run(compile_checker(compiler, "c++20", INT8, level=level))
    assert sorted(targets_found_right(result)) == sorted(rnnfast.cpu_targets())


@each_compiler
def test_the_text_kernel_is_right(compiler: str | None, package: str) -> None:
    compiler = require_compiler(compiler, package)
    result = run(compile_checker(compiler, "c++17", TEXT))
    assert (result.returncode, result.stdout) == (0, "right\n")


@pytest.mark.skipif(
    not shutil.which(CROSS), reason=f"needs {CROSS} (Debian package: g++-aarch64-linux-gnu)"
)
@pytest.mark.skipif(not QEMU, reason="needs qemu-aarch64 (Debian package: qemu-user)")
def test_64_bit_arm_is_right_in_an_emulator() -> None:
    assert QEMU
    result = run(QEMU, compile_checker(CROSS, "c++20", KERNELS, "-static"))
    assert targets_found_right(result) == ("neon", "generic", "amx_emulated")
    result = run(QEMU, compile_checker(CROSS, "c++20", INT8, "-static"))
    assert targets_found_right(result)[-3:] == ("neon", "generic", "amx_emulated")
    result = run(QEMU, compile_checker(CROSS, "c++17", TEXT, "-static"))
    assert (result.returncode, result.stdout) == (0, "right\n")
