"""The rules that keep the project's parts apart, read from the sources."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
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
        ("rnnfast", ("flows", "tests", "benchmarks", "docs", "prefect")),
        ("flows", ("tests", "benchmarks", "docs")),
        ("benchmarks", ("tests", "docs")),
        *((f"flows/{room}", ("prefect",)) for room in ("store", "tables", "datasets", "steps")),
    ],
)
def test_imports_run_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {path.name: bad for path in files if (bad := starts(imports(path), *forbidden))}
    assert not wrong


# From the ground up: a room imports from those below it, and from itself.
ROOMS = {
    "rnnfast": (
        {"nn"},
        {"text", "series", "labels"},
        {"models"},
        {"training"},
        {"evaluation"},
        {"scoring"},
        {"reports"},
    ),
    "flows": (
        {"errors", "wording", "progress", "unfinished", "tethered"},
        {"accounts"},
        {"store"},
        {"tables", "executors"},
        {"datasets"},
        {"parameters"},
        {"apart"},
        {"steps"},
        {"orchestration"},
        {"reviews", "sensors", "pretrain", "score", "clean"},
        {"cli"},
        {"__main__"},
    ),
}


def modules(package: str) -> dict[str, Path]:
    """The files of a package by the names of their modules."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_from_those_below(package: str) -> None:
    floors = {room: floor for floor, rooms in enumerate(ROOMS[package]) for room in rooms}
    names = modules(package)
    assert {name.split(".")[1] for name in names if "." in name} == floors.keys()
    wrong = []
    for name, path in names.items():
        if name == package:
            continue
        own = name.split(".")[1]
        for other in starts(imports(path), package) - {package}:
            room = other.split(".")[1]
            if room in floors and room != own and floors[room] >= floors[own]:
                wrong.append(f"{name} -> {other}")
    assert not wrong


@pytest.mark.parametrize("package", ROOMS)
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    names = modules(package)
    graph = {}
    for name, path in names.items():
        found = imports(path) & names.keys()
        # `from package import module` asks for the module alone.
        graph[name] = {each for each in found if not any(o.startswith(f"{each}.") for o in found)}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names them


# Names that say the same wherever they are: the reference is the operators' plain twin, a file of a data set is one of
# many that are alike.
TWINS = {
    "State": "rnnfast/nn",
    "CELLS": "rnnfast/nn",
    "DATASET": "flows/datasets",
    "LABELS": "flows/datasets",
    "CHANNELS": "flows/datasets",
}


def named(path: Path) -> set[str]:
    """The classes of a file, and those constants that other files may import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names = {
            each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
        }
        found |= {name for name in names if name[0].isupper()}
    return found


def test_one_name_is_one_thing() -> None:
    homes: dict[str, set[str]] = {}
    for package in ROOMS:
        for path in modules(package).values():
            for name in named(path):
                home = path.relative_to(ROOT).as_posix()
                twins = TWINS.get(name)
                home = twins if twins and home.startswith(f"{twins}/") else home
                homes.setdefault(name, set()).add(home)
    assert TWINS.keys() <= homes.keys()
    assert not {name: sorted(files) for name, files in homes.items() if len(files) > 1}


def test_public_names_come_from_the_package() -> None:
    """In a process of its own: the command line leaves packages unread until they are needed."""
    rooms = sorted(set().union(*ROOMS["rnnfast"]))
    lines = [f"from rnnfast.{room} import *; assert rnnfast.{room}.__doc__" for room in rooms]
    subprocess.run(
        [sys.executable, "-c", "\n".join(["import rnnfast", *lines])], check=True, cwd=ROOT
    )
    for room in rooms:
        assert "__all__" in (ROOT / "rnnfast" / room / "__init__.py").read_text()


def test_only_ops_calls_the_operators() -> None:
    files = (ROOT / "rnnfast").rglob("*.py")
    calling = {path.parent for path in files if "torch.ops." in path.read_text(encoding="utf-8")}
    assert calling == {ROOT / "rnnfast/nn/ops"}


def test_the_layers_need_torch_and_nothing_else() -> None:
    standard = {
        "__future__",
        "collections",
        "contextlib",
        "dataclasses",
        "functools",
        "importlib",
        "sys",
        "types",
        "typing",
    }
    for path in (ROOT / "rnnfast/__init__.py", *(ROOT / "rnnfast/nn").rglob("*.py")):
        outside = {module.split(".")[0] for module in imports(path)} - {"rnnfast"}
        more = {"onnxscript"} if path.name == "to_onnx.py" else set()  # what exports needs no more
        assert outside <= {"torch", "warnings"} | more | standard, path.name


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
    heavy = {"torch._dynamo", "torch.onnx", "torch.utils.flop_counter", "sklearn", "matplotlib"}
    assert not heavy & set(done.stdout.split())
