"""nvcc compiles the CUDA sources without a warning, and what ptxas reports is what ``csrc/cuda/plan.h`` counts on."""

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from compiled import made, read_by

ROOT = Path(__file__).parent.parent
SOURCES = sorted(ROOT.glob("csrc/cuda/*.cu"))
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


def kernels_of(source: Path, architecture: str) -> list[Kernel]:
    """The source's kernels; a warning is an error."""
    target = f"-gencode=arch=compute_{architecture},code=sm_{architecture}"
    warnings = ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"]
    command = ["nvcc", "-std=c++17", "-O3", "-Xptxas", "-v", *warnings, target]
    command += [f"-I{ROOT / 'csrc'}", "-c", source]
    return reported(made(f"nvcc-{architecture}-{source.stem}", ".o", command, read_by(source))[1])


@pytest.fixture(
    scope="module",
    params=["90a", *(pytest.param(each, marks=pytest.mark.soak) for each in ("80", "90"))],
)
def kernels(request: pytest.FixtureRequest) -> list[Kernel]:
    """Those for one architecture; a minute of compiling for each."""
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc (of CUDA 13)")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lists = pool.map(partial(kernels_of, architecture=request.param), SOURCES)
        return [kernel for found in lists for kernel in found]


def test_there_are_kernels_for_every_cell(kernels: list[Kernel]) -> None:
    resident = [k.name for k in kernels if k.resident]
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
