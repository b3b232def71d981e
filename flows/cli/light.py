"""Has the modules of rnnfast that need no torch come without it, so that a command can look before it loads.

A package is there as soon as a module of it is imported, and importing `rnnfast` loads torch, which takes seconds and
200 MB. So its packages are run here when somebody asks one for a name, and not before.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PACKAGE = "rnnfast"


def load_lightly() -> None:
    """From here on the packages of rnnfast are run when they are needed; one that is loaded already stays as it is."""
    if PACKAGE not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Unread(ModuleType):
    """A package whose modules can be imported, and which is run when it is asked for what is not there."""

    def __getattr__(self, name: str) -> Any:
        # The machinery of imports asks every module for names of its own.
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        if find_spec(f"{self.__name__}.{name}") is not None:
            return import_module(f"{self.__name__}.{name}")
        self.__class__ = ModuleType  # type: ignore[assignment]  # first: it imports its own modules
        loader = self.__spec__.loader if self.__spec__ else None
        assert loader is not None
        loader.run(self)  # type: ignore[attr-defined]
        return getattr(self, name)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((each for each in found if each is not None), None)
        if spec is None or spec.loader is None or spec.submodule_search_locations is None:
            return spec
        loader: Any = spec.loader
        loader.run, loader.exec_module = loader.exec_module, _leave_unread
        return spec


def _leave_unread(module: ModuleType) -> None:
    module.__class__ = _Unread
