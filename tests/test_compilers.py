"""The kernels without torch: from each compiler without a warning, and right on each target that it compiles for."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rnnfast

ROOT = Path(__file__).parent.parent
SOURCES = [
    ROOT / "csrc/cpu/targets.cpp",
    ROOT / "csrc/cpu/team.cpp",
    *sorted(ROOT.glob("csrc/cpu/targets/*.cpp")),
    ROOT / "tests/csrc/check_kernels.cpp",
]
FLAGS = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}"]


def first_of(*programs: str) -> str | None:
    return next(filter(None, map(shutil.which, programs)), None)


CLANG = first_of("clang++", *(f"clang++-{version}" for version in range(30, 13, -1)))
CROSS = "aarch64-linux-gnu-g++"
QEMU = first_of("qemu-aarch64", "qemu-aarch64-static")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


def compile_checker(folder: Path, compiler: str, *flags: str) -> Path:
    def compile_one(source: Path) -> Path:
        made = folder / f"{source.stem}.o"
        result = run(compiler, *FLAGS, "-c", source, "-o", made)
        assert result.returncode == 0, result.stderr
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, SOURCES))
    checker = folder / "check_kernels"
    result = run(compiler, *flags, *objects, "-o", checker)
    assert result.returncode == 0, result.stderr
    return checker


def targets_found_right(result: subprocess.CompletedProcess[str]) -> tuple[str, ...]:
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert all(": right, " in line for line in lines), result.stdout
    return tuple(line.split(":")[0] for line in lines)


@pytest.mark.parametrize(
    ("compiler", "package"),
    [
        pytest.param(shutil.which("g++"), "g++", id="g++"),
        pytest.param(CLANG, "clang", id="clang++"),
    ],
)
def test_every_target_of_this_machine_is_right(
    compiler: str | None, package: str, tmp_path: Path
) -> None:
    if compiler is None:
        pytest.skip(f"needs a compiler (Debian package: {package})")
    result = run(compile_checker(tmp_path, compiler))
    assert targets_found_right(result) == rnnfast.cpu_targets()


@pytest.mark.skipif(
    not shutil.which(CROSS), reason=f"needs {CROSS} (Debian package: g++-aarch64-linux-gnu)"
)
@pytest.mark.skipif(not QEMU, reason="needs qemu-aarch64 (Debian package: qemu-user)")
def test_64_bit_arm_is_right_in_an_emulator(tmp_path: Path) -> None:
    assert QEMU
    result = run(QEMU, compile_checker(tmp_path, CROSS, "-static"))
    assert targets_found_right(result) == ("neon", "generic")
