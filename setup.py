"""Builds rnnfast._C and rnnfast._text from csrc: globs the sources, decides on CUDA, nothing else.

Metadata is in pyproject.toml.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup


def require(found: bool, what: str, package: str) -> None:
    if not found:
        raise SystemExit(f"rnnfast needs {what} (Debian package: {package})")


def with_cuda(nvcc_home: str | None, torch_cuda: str | None) -> bool:
    """CUDA is compiled in where torch and nvcc both have it; FORCE_CUDA=0 or 1 decides otherwise."""
    forced = os.environ.get("FORCE_CUDA")
    if forced not in (None, "0", "1"):
        raise SystemExit(f"FORCE_CUDA must be 0 or 1, got: {forced}")
    if forced == "1" and not torch_cuda:
        raise SystemExit(f"FORCE_CUDA=1 needs a torch with CUDA, got: {torch.__version__}")
    if forced == "1" and not nvcc_home:
        raise SystemExit("FORCE_CUDA=1 needs CUDA's compiler, nvcc: CUDA_HOME names its folder")
    return forced == "1" if forced else bool(nvcc_home and torch_cuda)


require(shutil.which(os.environ.get("CXX", "g++").split()[0]) is not None, "a C++ compiler", "g++")
require(
    Path(sysconfig.get_path("include"), "Python.h").exists(), "the Python headers", "python3-dev"
)

import torch  # noqa: E402
from torch.utils import cpp_extension  # noqa: E402

ROOT = Path(__file__).parent
CUDA_SOURCES = [*ROOT.glob("csrc/cuda/*.cpp"), *ROOT.glob("csrc/cuda/*.cu")]
CUDA = with_cuda(cpp_extension.CUDA_HOME, torch.version.cuda)
# Ampere, Hopper, and by way of the latter's PTX whatever comes after; torch would take the GPUs of this machine alone.
os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
SOURCES = [
    *ROOT.glob("csrc/*.cpp"),
    *ROOT.glob("csrc/cpu/**/*.cpp"),
    *(CUDA_SOURCES if CUDA else []),
]
HEADERS = [
    path for pattern in ("*.h", "*.inl", "*.inc") for path in ROOT.glob(f"csrc/**/{pattern}")
]
DEPENDS = sorted(str(path.relative_to(ROOT)) for path in HEADERS)
# Vectors of the emulated tiles, which are wider than those of the baseline, stay within their file.
FLAGS = ["-O3", "-g0", "-Wall", "-Wno-psabi", "-fvisibility=hidden"]

layers = (cpp_extension.CUDAExtension if CUDA else cpp_extension.CppExtension)(
    "rnnfast._C",
    sorted(str(path.relative_to(ROOT)) for path in SOURCES),
    depends=DEPENDS,
    include_dirs=[str(ROOT / "csrc")],
    # Torch's stable ABI of 2.11, so that one build serves every torch from there on. No -march: each target states its
    # own instruction set, and the same file runs on an older machine.
    define_macros=[("TORCH_TARGET_VERSION", "0x020b000000000000")],
    extra_compile_args={"cxx": [*FLAGS, "-std=c++20"], "nvcc": ["-O3", "-std=c++17"]},
    py_limited_api=True,
)
# Links nothing of torch; the headers of pybind11 come with it.
text = Extension(
    "rnnfast._text",
    sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/text/*.cpp")),
    depends=DEPENDS,
    include_dirs=[str(ROOT / "csrc"), *cpp_extension.include_paths()[:1]],
    extra_compile_args=[*FLAGS, "-std=c++17"],
    language="c++",
)


class BuildExtension(cpp_extension.BuildExtension):
    """Compiles each in its own place, so that ninja finds what an editable or an ordinary install compiled before."""

    def build_extension(self, ext: Extension) -> None:
        made_for = {
            layers.name: f"{'cuda' if CUDA else 'cpu'}-torch{torch.__version__}",
            text.name: f"text-{sys.implementation.cache_tag}",
        }
        self.build_temp = str(Path("build", made_for[ext.name]))
        super().build_extension(ext)


# pybind11 has no stable ABI: a wheel is for one version of Python.
setup(ext_modules=[layers, text], cmdclass={"build_ext": BuildExtension})
