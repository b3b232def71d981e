import os
import tempfile
from pathlib import Path

import pytest

from flows import cache_folder


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("RNNFAST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_cache_is_where_it_is_told(no_choice: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_choice.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "rnnfast"
    no_choice.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "rnnfast"
    no_choice.setenv("RNNFAST_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"


def test_without_a_home_it_is_in_the_temporary_folder(no_choice: pytest.MonkeyPatch) -> None:
    no_choice.setenv("HOME", "/dev/null/nobody")
    assert cache_folder() == Path(tempfile.gettempdir(), f"rnnfast-{os.getuid()}")
