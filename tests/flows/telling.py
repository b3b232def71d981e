"""A work that does as its items tell it, for the tests of the executors.

It stands by itself, since every worker imports it: the module of the tests would bring torch, 2 s of the CPU each.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.errors import InputError


@dataclass(frozen=True)
class Telling:
    """Each item is a call; what it was called with goes into a file, one line a call."""

    calls: Path
    start_with: Callable[[], object] = int

    def start(self, threads: int) -> Callable[[tuple[Any, ...]], Any]:
        self.start_with()
        return self._do

    def _do(self, item: tuple[Any, ...]) -> Any:
        with self.calls.open("a") as file:
            file.write(f"{item}\n")
        call, *arguments = item
        return call(*arguments)


class UnpicklableError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def raises(error: BaseException) -> None:
    raise error


def raises_unpicklable() -> None:
    raise UnpicklableError("a", "b")


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        dies()
    return "done"


def process(seconds: float = 0.2) -> int:
    time.sleep(seconds)
    return os.getpid()


def no_model() -> None:
    raise InputError("no model")


class Other:
    def here(self) -> None:
        pass
