"""Something to do once a module is imported, without importing it."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


def when_imported(name: str, action: Action) -> None:
    """Calls ``action`` with the module of that name: now if it is loaded, else as soon as somebody imports it."""
    module = sys.modules.get(name)
    if module is not None:
        action(module)
        return
    _WAITING.actions[name] = action
    if _WAITING not in sys.meta_path:
        sys.meta_path.insert(0, _WAITING)


class _Waiting(MetaPathFinder):
    def __init__(self) -> None:
        self.actions: dict[str, Action] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.actions:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_act(module: ModuleType) -> None:
            run(module)
            # An import that failed is tried again, and the action with it.
            self.actions.pop(fullname)(module)

        loader: Any = spec.loader
        loader.exec_module = run_and_act
        return spec


_WAITING = _Waiting()
