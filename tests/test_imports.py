"""What is to be done once a module is imported is done once, whoever imports it, before or after."""

import importlib
import sys
from pathlib import Path

import pytest

from rnnfast.nn.imports import when_imported


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == "watched"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_before_after_and_once(package: Path) -> None:
    (package / "one.py").write_text("value = 1\n")
    found: list[tuple[str, int]] = []
    when_imported("watched.one", lambda module: found.append(("before", module.value)))
    assert "watched.one" not in sys.modules
    assert found == []
    one = importlib.import_module("watched.one")
    assert found == [("before", 1)]
    when_imported("watched.one", lambda module: found.append(("after", module.value)))
    importlib.reload(one)
    assert found == [("before", 1), ("after", 1)]


def test_an_import_that_fails_is_tried_again(package: Path) -> None:
    file = package / "two.py"
    file.write_text("raise ZeroDivisionError\n")
    found: list[int] = []
    when_imported("watched.two", lambda module: found.append(module.value))
    when_imported("watched.missing", lambda module: found.append(0))
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("watched.two")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("watched.missing")
    file.write_text("value = 2  # longer than before\n")
    importlib.invalidate_caches()
    importlib.import_module("watched.two")
    assert found == [2]
