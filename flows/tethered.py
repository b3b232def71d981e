"""Commands that end with the process that started them, however that ends."""

import os
import signal
import sys
from collections.abc import Sequence

# Replaces itself by the command. PR_SET_PDEATHSIG of prctl, 1, outlives exec. A `preexec_fn` of subprocess would
# do the same, but runs Python in a fork of a process with threads, which at times crashes.
_SCRIPT = """import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[2]), 0, 0, 0)
if os.getppid() != int(sys.argv[1]): sys.exit("the process that started this one has ended")
os.execvp(sys.argv[3], sys.argv[3:])"""


def tethered(command: Sequence[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command, to which Linux sends a signal as soon as the thread that has started it is no more.

    Example:
        >>> process = subprocess.Popen(tethered(["sleep", "600"]))
    """
    return [sys.executable, "-I", "-S", "-c", _SCRIPT, str(os.getpid()), str(int(number)), *command]
