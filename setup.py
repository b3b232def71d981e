"""Builds rnnfast._C from csrc: globs the sources, decides on CUDA, nothing else. Metadata is in pyproject.toml."""

import os
import shutil
import sysconfig
from pathlib import Path

from setuptools import setup


def require(found: bool, what: str, package: str) -> None:
    if not found:
        raise SystemExit(f"rnnfast needs {what} (Debian package: {package})")


def with_cuda(nvcc_home: str | None, torch_cuda: str | None) -> bool:
    """CUDA is compiled in where torch and nvcc both have it; FORCE_CUDA=0 or 1 decides otherwise."""
    forced = os.environ.get("FORCE_CUDA")
    if forced not in (None, "0", "1"):
        raise SystemExit(f"FORCE_CUDA must be 0 or 1, got: {forced}")
    return forced == "1" if forced else bool(nvcc_home and torch_cuda)


require(shutil.which(os.environ.get("CXX", "g++").split()[0]) is not None, "a C++ compiler", "g++")
require(
    Path(sysconfig.get_path("include"), "Python.h").exists(), "the Python headers", "python3-dev"
)

import torch  # noqa: E402
from torch.utils import cpp_extension  # noqa: E402

ROOT = Path(__file__).parent
CUDA_SOURCES = [*ROOT.glob("csrc/cuda/*.cpp"), *ROOT.glob("csrc/cuda/*.cu")]
CUDA = with_cuda(cpp_extension.CUDA_HOME, torch.version.cuda) and bool(CUDA_SOURCES)
SOURCES = [
    *ROOT.glob("csrc/*.cpp"),
    *ROOT.glob("csrc/cpu/**/*.cpp"),
    *(CUDA_SOURCES if CUDA else []),
]
HEADERS = [path for pattern in ("*.h", "*.inl") for path in ROOT.glob(f"csrc/**/{pattern}")]

extension = (cpp_extension.CUDAExtension if CUDA else cpp_extension.CppExtension)(
    "rnnfast._C",
    sorted(str(path.relative_to(ROOT)) for path in SOURCES),
    depends=sorted(str(path.relative_to(ROOT)) for path in HEADERS),
    include_dirs=[str(ROOT / "csrc")],
    # Torch's stable ABI of 2.11, so that one build serves every torch from there on. No -march: each target states its
    # own instruction set, and the same file runs on an older machine.
    define_macros=[("TORCH_TARGET_VERSION", "0x020b000000000000")],
    extra_compile_args={"cxx": ["-O3", "-g0", "-Wall", "-fvisibility=hidden"], "nvcc": ["-O3"]},
    py_limited_api=True,
)


class BuildExtension(cpp_extension.BuildExtension):
    """Compiles in one place, so that ninja finds what an editable or an ordinary install compiled before."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = str(
            Path("build", f"{'cuda' if CUDA else 'cpu'}-torch{torch.__version__}")
        )


setup(
    ext_modules=[extension],
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
