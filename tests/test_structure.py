"""The rules that keep the project's parts apart, read from the sources."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports(path: Path) -> set[str]:
    """Full names of the modules that a Python file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, for one to see where they go"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def includes(path: Path) -> set[str]:
    return set(re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE))


def starts(names: set[str], *prefixes: str) -> set[str]:
    return {name for name in names if name.split("/")[0].split(".")[0] in prefixes}


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("rnnfast", ("flows", "tests", "benchmarks", "prefect")),
        ("flows", ("tests", "benchmarks")),
        ("flows/steps", ("prefect",)),
        ("flows/datasets", ("prefect",)),
        ("benchmarks", ("tests",)),
    ],
)
def test_imports_run_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {path.name: bad for path in files if (bad := starts(imports(path), *forbidden))}
    assert not wrong


def test_only_ops_calls_the_operators() -> None:
    calling = {p.name for p in (ROOT / "rnnfast").glob("*.py") if "torch.ops." in p.read_text()}
    assert calling == {"ops.py"}


def test_the_layers_need_torch_and_nothing_else() -> None:
    for name in ("__init__", "layers", "ops", "reference", "transforms"):
        outside = {module.split(".")[0] for module in imports(ROOT / "rnnfast" / f"{name}.py")}
        assert outside <= {"torch", "rnnfast", "dataclasses", "typing", "collections", "functools"}


def test_kernels_are_free_of_torch_and_backends_of_each_other() -> None:
    csrc = ROOT / "csrc"
    plain = [
        *csrc.glob("cells/*"),
        *csrc.rglob("*.inl"),
        *csrc.rglob("targets*"),
        *csrc.rglob("targets/*"),
        *csrc.rglob("*.cu"),
        *csrc.glob("cuda/*.h"),
    ]
    plain += [csrc / "cpu/layer.h", csrc / "cpu/rows.h", csrc / "cpu/rows.cpp"]
    files = [path for path in plain if path.is_file()]
    assert len(files) > 8
    assert not {
        path.name: bad for path in files if (bad := starts(includes(path), "torch", "ATen", "c10"))
    }
    for backend, other in (("cpu", "cuda"), ("cuda", "cpu")):
        for path in (csrc / backend).rglob("*.*"):
            assert not starts(includes(path), other), path


def test_the_text_kernel_needs_nothing_but_its_binding() -> None:
    for path in (ROOT / "csrc/text").rglob("*.*"):
        other = {name for name in includes(path) if "/" in name and not name.startswith("text/")}
        allowed = path.name == "module.cpp"
        assert all(allowed and name.startswith("pybind11/") for name in other), path


def test_what_is_compiled_for_one_instruction_set_includes_nothing_from_outside() -> None:
    """A header in a target's region would be compiled for it, and the linker could hand that copy to any machine."""
    for path in [*(ROOT / "csrc").rglob("*.inl"), *(ROOT / "csrc/cells").glob("*.h")]:
        assert all(name.startswith(("cells/", "cpu/")) for name in includes(path)), path


def test_to_import_the_layers_takes_no_compiler_of_torch() -> None:
    """It takes as long to load as torch itself."""
    command = [sys.executable, "-c", "import sys, rnnfast; print(*sys.modules)"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert not {"torch._dynamo", "sklearn", "matplotlib"} & set(done.stdout.split())
