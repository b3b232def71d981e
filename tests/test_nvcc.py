"""nvcc compiles the CUDA sources without a warning, and what ptxas reports is what ``csrc/cuda/plan.h`` counts on."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(ROOT.glob("csrc/cuda/*.cu"))
ARCHITECTURES = ("80", "90", "90a")
REGISTERS = 65536
"""Of a multiprocessor."""

PLAN = (ROOT / "csrc/cuda/plan.h").read_text()
CELLS = ("Tanh", "Relu", "Gru", "Lstm")


@dataclass(frozen=True)
class Kernel:
    architecture: str
    name: str  # mangled
    registers: int
    stack_bytes: int
    spilled_bytes: int
    shared_bytes: int

    @property
    def resident(self) -> bool:
        return re.search(r"(forward|backward)_resident", self.name) is not None


def constant(name: str) -> int:
    found = re.search(rf"constexpr int {name} = (\d+);", PLAN)
    assert found, name
    return int(found[1])


def reported(output: str) -> list[Kernel]:
    """The kernels of a compilation with ``-Xptxas -v``."""
    kernels = []
    for part in output.split("Compiling entry function '")[1:]:
        head = re.match(r"(\w+)' for 'sm_(\w+)'", part)
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", part)
        used = re.search(r"Used (\d+) registers", part)
        assert head, part
        assert stack, part
        assert used, part
        shared = re.search(r"(\d+) bytes smem", part)
        kernels.append(
            Kernel(
                *(head[2], head[1], int(used[1]), int(stack[1]), int(stack[2]) + int(stack[3])),
                shared_bytes=int(shared[1]) if shared else 0,
            )
        )
    return kernels


def compiled(source: Path, folder: Path) -> list[Kernel]:
    """The source's kernels for every architecture; a warning is an error."""
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    warnings = ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"]
    command = ["nvcc", "-std=c++17", "-O3", "-Xptxas", "-v", *warnings, *targets]
    command += [f"-I{ROOT / 'csrc'}", "-c", str(source), "-o", str(folder / f"{source.stem}.o")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return reported(result.stdout + result.stderr)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[Kernel]:
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc (of CUDA 13)")
    folder = tmp_path_factory.mktemp("nvcc")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lists = pool.map(lambda source: compiled(source, folder), SOURCES)
        return [kernel for found in lists for kernel in found]


def test_there_are_kernels_for_every_cell_and_architecture(kernels: list[Kernel]) -> None:
    for architecture in ARCHITECTURES:
        resident = [k.name for k in kernels if k.architecture == architecture and k.resident]
        for cell in CELLS:
            assert any(cell in name and "forward_" in name for name in resident)
            assert any(cell in name and "backward_" in name for name in resident)


def test_the_sweeps_live_in_registers(kernels: list[Kernel]) -> None:
    """A spilled register would be read from memory at every time step."""
    wrong = [k for k in kernels if k.spilled_bytes or k.stack_bytes]
    assert not wrong


def test_a_sweep_fits_a_multiprocessor(kernels: list[Kernel]) -> None:
    """With as many threads as a plan has; all shared memory is that which the plan hands out."""
    threads = constant("kSweepThreads")
    resident = [k for k in kernels if k.resident]
    assert resident
    assert all(k.registers * threads <= REGISTERS for k in resident)
    assert not any(k.shared_bytes for k in kernels)
