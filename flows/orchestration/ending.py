"""How a job ends that is done: with the code that it has earned, and soon, whatever does not let go.

At the end of Python's life others get a last word without a limit: threads that are waited for, Prefect's queues of
logs and events, which wait until its server has taken the rest, its embedded server, and the destructors of libraries.
Where the server hangs, the queues wait for ever. What counts is done by then, so all get `PATIENCE` seconds together.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flows.orchestration.interrupt import children, end_processes

PATIENCE = (
    15.0  # seconds for all that is still to be sent and stopped; Prefect gives its server 5 of them
)
_KILLING = 1.0  # seconds for the processes that are left then
_codes: list[int] = []  # what the process is to end with, when that is known
_UNFLUSHED = 120  # the code that Python has for output that could not be written


@contextmanager
def surely_ended() -> Iterator[None]:
    """Has the process end within `PATIENCE` seconds after the block, with the code that it ends with there."""
    code = 0
    try:
        yield
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    except BaseException:
        code = 1
        raise
    finally:
        code = _flushed(code)
        _codes.append(code)
        threading.Thread(target=_give_up, args=(code,), daemon=True).start()


def _leave() -> None:
    """Ends the process before the libraries are taken apart, where there is a code to end it with."""
    if _codes:
        logging.shutdown()
        os._exit(_flushed(_codes[-1]))


# What is registered first is called last, when the others have had their word: so this stands here, and this module is
# imported before those.
atexit.register(_leave)


def _give_up(code: int) -> None:
    """Ends the process and those that it has started when the time is up."""
    time.sleep(PATIENCE)
    with suppress(OSError):
        os.write(2, f"Warning: ended although something hung for {PATIENCE:g} s\n".encode())
    try:
        end_processes(children(os.getpid()), _KILLING)
    finally:
        os._exit(code)


def _flushed(code: int) -> int:
    """Writes out what was printed; the code, or where that fails and all else went well, Python's own for it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            code = code or _UNFLUSHED
    return code
