"""What the build makes, and what it says when something is missing."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch

import rnnfast

ROOT = Path(__file__).parent.parent
CUDA_HEADERS = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "include")
OBJECTS = sorted((ROOT / "build").glob("*/csrc/cpu/targets/*.o"))


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    everything = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=ROOT, env=everything, capture_output=True, text=True, timeout=600
    )


def test_nothing_to_do_is_seen_at_once() -> None:
    result = run(sys.executable, "setup.py", "build_ext", "--inplace")
    assert result.returncode == 0, result.stderr
    result = run(sys.executable, "setup.py", "build_ext", "--inplace")
    assert (result.stdout + result.stderr).count("ninja: no work to do") == 2  # _C and _text


def test_the_wheel_names_its_python_and_holds_all_it_needs(tmp_path: Path) -> None:
    options = ["--no-build-isolation", "--no-deps", "--wheel-dir", str(tmp_path)]
    result = run(sys.executable, "-m", "pip", "wheel", *options, ".")
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"-{python}-{python}-" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = (ROOT / "rnnfast/reports/templates").rglob("*.*")
    expected = {str(path.relative_to(ROOT)) for path in templates}
    expected |= {"rnnfast/_C.abi3.so", "rnnfast/py.typed", "flows/__main__.py"}
    expected.add(f"rnnfast/_text{sysconfig.get_config_var('EXT_SUFFIX')}")
    assert expected <= names
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/"))}

    # It runs from somewhere else, where the sources are not.
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = (
        "import rnnfast, torch; from rnnfast.text.vocabulary import Vocabulary, vectorize;"
        "print(rnnfast.__file__, rnnfast.RNN(2, 3)(torch.ones(4, 1, 2))[0].shape);"
        "print(vectorize(['a b'], Vocabulary(['[UNK]', 'pad', 'b']), 3)[0].tolist())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert result.stdout.startswith(str(site)), result.stderr
    assert "[4, 1, 3]" in result.stdout
    assert "[[0, 2, 1]]" in result.stdout


def test_no_instruction_set_but_the_baseline_is_asked_for_globally() -> None:
    commands = list((ROOT / "build").glob("*/build.ninja"))
    assert len(commands) >= 2  # _C and _text
    flags = [flag for file in commands for flag in file.read_text().split()]
    assert not [flag for flag in flags if flag.startswith(("-march", "-mavx", "-mfma", "-mcpu"))]


@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm (Debian package: binutils)")
@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_a_target_hands_no_function_to_other_machines(path: Path) -> None:
    """A weak function compiled for AVX could replace the baseline's copy when all is linked."""
    symbols = run("nm", "--defined-only", str(path)).stdout.splitlines()
    assert symbols or path.stem not in rnnfast.cpu_targets()  # one of another architecture is empty
    weak = [line for line in symbols if line.split()[-2] in "WVu"]
    # The address of the handler of exceptions, which is data.
    assert not [line for line in weak if not line.endswith(" DW.ref.__gxx_personality_v0")]


@pytest.mark.skipif(not Path(CUDA_HEADERS, "cuda_runtime.h").exists(), reason="needs CUDA")
def test_the_binding_compiles_against_the_headers_of_cuda() -> None:
    """And of torch, whether that has CUDA or not."""
    flags = ["-std=c++20", "-fsyntax-only", "-Wall", "-Werror", "-fvisibility=hidden"]
    flags += ["-DTORCH_TARGET_VERSION=0x020b000000000000", "-Icsrc", "-isystem", str(CUDA_HEADERS)]
    flags += ["-isystem", str(Path(torch.__file__).parent / "include")]
    result = run("g++", *flags, "csrc/cuda/layer_cuda.cpp")
    assert result.returncode == 0, result.stderr


without_cuda = pytest.mark.skipif(torch.version.cuda is not None, reason="torch has CUDA")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CXX": "no-such-compiler"}, "a C++ compiler (Debian package: g++)"),
        ({"FORCE_CUDA": "yes"}, "FORCE_CUDA must be 0 or 1, got: yes"),
        pytest.param(
            {"FORCE_CUDA": "1"}, "FORCE_CUDA=1 needs a torch with CUDA", marks=without_cuda
        ),
    ],
)
def test_setup_says_in_one_sentence_what_is_wrong(change: dict[str, str], message: str) -> None:
    result = run(sys.executable, "setup.py", "--version", **change)
    assert result.returncode != 0
    (line,) = result.stderr.strip().splitlines()
    assert message in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_needs_a_gpu_says_so_in_one_sentence() -> None:
    """The programs behind `make bench-cuda` and `make sanitize-cuda`."""
    for program in (["-m", "benchmarks.cuda"], ["tests/sanitized.py"]):
        result = run(sys.executable, *program, PYTHONPATH=str(ROOT))
        assert result.returncode != 0
        (line,) = result.stderr.strip().splitlines()
        assert "needs an NVIDIA GPU" in line


@pytest.mark.parametrize(
    ("variable", "value", "package"),
    [("CXX", "no-such-compiler", "g++"), ("PYTHON", "no-such-python", "python3")],
)
def test_make_says_in_one_sentence_what_is_missing(variable: str, value: str, package: str) -> None:
    result = run("make", "tools", f"{variable}={value}")
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("rnnfast needs")
    assert f"(Debian package: {package})" in result.stderr.splitlines()[0]
