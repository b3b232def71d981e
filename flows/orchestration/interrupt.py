"""How a job ends that is told to by a signal: in one place, whatever it was doing.

An exception such as KeyboardInterrupt would strike inside any library, which may swallow it or fail
over it: Prefect makes a ValueError of one that comes while it sets up a task. So a signal raises
nothing here. Its handler says so in one line, puts right what is unfinished, and ends the processes
that the job started and the job itself, with code 128 + the signal's number.
"""

import _thread
import contextvars
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from flows.unfinished import undo_all

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# To the main thread, where handlers run: there was a SIGTERM.
_FORWARDED = signal.SIGUSR1
_LAST = b"\0"  # no signal's number
INTERRUPT_PATIENCE = (
    8.0  # seconds for Prefect to take note, and for the processes to end of themselves
)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Has SIGINT, SIGTERM and SIGHUP end the job from here on.

    What whoever started the job has it ignore, as nohup does, stays ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    # While a flow runs, Prefect's handler of SIGTERM takes the place of this one, and raises. Into
    # the pipe comes the number of each signal, whoever handles it.
    signal.signal(_FORWARDED, _end)
    numbers, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    forward = threading.Thread(target=_forward, args=(numbers, threading.get_ident()), daemon=True)
    forward.start()
    try:
        yield
    finally:
        # What was raised may have come through the block before the thread was heard.
        os.write(write, _LAST)
        forward.join()


def _forward(numbers: int, main_thread: int) -> None:
    """Tells the main thread of each SIGTERM among the numbers that come from a pipe."""
    while (number := os.read(numbers, 1)) != _LAST:
        if number[0] == signal.SIGTERM:
            signal.pthread_kill(main_thread, _FORWARDED)


def _end(number: int, _: FrameType | None) -> NoReturn:
    if number == _FORWARDED:
        number = signal.SIGTERM
    try:
        # From here on it is being done. Ignoring them instead would warn of one that has just come.
        for each in (*SIGNALS, _FORWARDED):
            signal.signal(each, _do_nothing)
        name = signal.Signals(number).name
        _say_last(f"Error: interrupted by {name}\n")
        undo_all()
        _record(f"Interrupted by {name}.")
        end_processes(children(os.getpid()), INTERRUPT_PATIENCE)
    finally:
        os._exit(128 + number)


def _do_nothing(*_: object) -> None:
    pass


def _say_last(line: str) -> None:
    """Writes to stderr, by no buffer that may be in use, and lets nothing follow."""
    if os.isatty(2):
        # In place of a progress bar, and with the cursor that it hides.
        line = f"\r\x1b[K\x1b[?25h{line}"
    with suppress(OSError):
        os.write(2, line.encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _record(message: str) -> None:
    """Has Prefect note how the run ended, if one is under way, and its server answers in time."""
    engine = sys.modules.get("flows.orchestration.engine")
    if engine is None:
        return
    done = _thread.allocate_lock()
    done.acquire()

    def record() -> None:
        try:
            with suppress(Exception):
                engine.record_crash(message)
        finally:
            done.release()

    # In a thread that is left behind where it waits for a lock which the main thread holds.
    _thread.start_new_thread(contextvars.copy_context().run, (record,))
    done.acquire(timeout=INTERRUPT_PATIENCE)


def end_processes(processes: list[int], patience: float) -> None:
    """Ends processes, Prefect's server among them: asks first, and after so many seconds does not ask any more."""
    deadline = time.monotonic() + patience
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    for process in processes:
        with suppress(ProcessLookupError, FileNotFoundError):
            while _is_running(process):
                if time.monotonic() > deadline:
                    os.kill(process, signal.SIGKILL)
                time.sleep(0.01)


def _is_running(process: int) -> bool:
    """Whether a process has not ended; takes away what is left of it where it is a child of this one."""
    try:
        return os.waitpid(process, os.WNOHANG) == (0, 0)
    except ChildProcessError:  # somebody else's, or somebody else has waited for it
        os.kill(process, 0)
        return not _stat(Path("/proc", str(process), "stat")).startswith("Z")


def children(parent: int) -> list[int]:
    """The processes that one has started, from Linux's list of all."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may end while the list is read
            if int(_stat(path).split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def _stat(path: Path) -> str:
    """The state of a process, its parent and more: pid (name) state parent ...; the name may hold anything."""
    return path.read_text().rpartition(")")[2].lstrip()
