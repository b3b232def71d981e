"""What of a machine matters here: what the jobs find on it, what they lack, and what would make them faster."""

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from packaging.requirements import Requirement

import rnnfast
from flows import cache_folder
from flows.wording import counted, size
from rnnfast.nn import ops

GIGABYTE = 1 << 30
LEAST_DISK = 2 * GIGABYTE  # IMDB with its parsed tables and a run
VECTORS = ("amx", "avx512", "avx2", "neon")  # instruction sets by the start of their names
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Machine:
    """What was found: names with their values, what is missing for a job to run, and what costs speed."""

    found: dict[str, str]
    missing: list[str]
    slow: list[str]


def look() -> Machine:
    """Looks at this machine, its packages and its settings; starts nothing and reaches for no other machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {
        "rnnfast": f"{rnnfast.__version__}, Python {platform.python_version()}, torch {torch.__version__}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": f"{_processor()}, {counted(cores or 1, 'core')}",
        "threads": f"{torch.get_num_threads()} of torch",
        "memory": _memory(),
        "instruction set": f"{ops.cpu_target()}, of {', '.join(ops.cpu_targets())}",
        "precisions": ", ".join(str(each).removeprefix("torch.") for each in _DTYPES)
        + ", int8 (quantized); sums of bfloat16 are float32, and float16 is computed in float32",
        "CUDA": _cuda(),
        "Prefect": f"{_version('prefect')}, server: {os.environ.get('PREFECT_API_URL') or 'one for each job'}",
        "Ray": _version("ray"),
        "cache": f"{cache_folder()}, {size(_free(cache_folder()))} free",
        "temporary files": tempfile.gettempdir(),
    }
    return Machine(found, list(_missing()), list(_slow(cores or 1)))


def _missing() -> Iterator[str]:
    for line in importlib.metadata.requires("rnnfast") or []:
        needed = Requirement(line)
        if needed.marker and not needed.marker.evaluate({"extra": "flows"}):
            continue
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"the package {needed.name} is not installed: pip install 'rnnfast[flows]'"
            continue
        if not needed.specifier.contains(version, prereleases=True):
            yield (
                f"the package {needed.name} must be {needed.specifier}, found {version}: "
                f"pip install '{needed.name}{needed.specifier}'"
            )
    folder = cache_folder()
    if not os.access(folder, os.W_OK):
        yield f"the cache {folder} cannot be written: set RNNFAST_CACHE to a folder of yours"
    elif _free(folder) < LEAST_DISK:
        yield (
            f"the cache {folder} has {size(_free(folder))} free, some {size(LEAST_DISK)} are needed: "
            "set RNNFAST_CACHE to a larger disk"
        )


def _slow(cores: int) -> Iterator[str]:
    targets = ops.cpu_targets()
    if ops.cpu_target() != targets[0]:
        yield (
            f"RNNFAST_CPU_TARGET is {ops.cpu_target()}, though this processor can run {targets[0]}: unset it"
        )
    if not targets[0].startswith(VECTORS):
        yield "the processor has neither AVX2 nor NEON: one that has them is several times as fast"
    quota = _quota()
    if quota is not None and quota < cores:
        yield (
            f"the container may use {quota:g} of {cores} cores: set OMP_NUM_THREADS={max(1, int(quota))}"
        )
    if torch.get_num_threads() > cores:
        yield f"torch has {torch.get_num_threads()} threads on {counted(cores, 'core')}: set OMP_NUM_THREADS={cores}"
    if torch.get_num_threads() < cores and "OMP_NUM_THREADS" in os.environ:
        yield f"OMP_NUM_THREADS leaves {counted(cores - torch.get_num_threads(), 'core')} idle: unset it"
    if torch.cuda.is_available() and ops.why_not(torch.device("cuda"), torch.float32):
        yield (
            "there is a GPU, and rnnfast was built without CUDA: install nvcc of CUDA's toolkit, "
            "then run make clean and make env"
        )


def _processor() -> str:
    """The processor's name, from Linux's /proc/cpuinfo where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup("memory.max")
    if limit is not None and limit.isdigit() and int(limit) < total:
        return f"{size(total)}, of which the container may use {size(int(limit))}"
    return size(total)


def _quota() -> float | None:
    """How many cores the container may use, from Linux's cgroup (version 2); None without a limit."""
    quota, _, period = (_cgroup("cpu.max") or "").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _cgroup(name: str) -> str | None:
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _cuda() -> str:
    if not torch.cuda.is_available():
        return "no GPU" if torch.version.cuda else "torch is built without it"
    served = ops.why_not(torch.device("cuda"), torch.float32) is None
    name = torch.cuda.get_device_name()
    return (
        f"{name}, {'with' if served else 'without'} kernels of rnnfast, CUDA {torch.version.cuda}"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed; pip install 'rnnfast[{'ray' if package == 'ray' else 'flows'}]'"


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
