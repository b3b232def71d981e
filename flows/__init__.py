"""Batch jobs over reviews and sensor readings: the flows, the data sets and the steps that they are made of.

Importing the package settles how Prefect, Ray and OpenMP run, before anything imports them: no telemetry,
and a home of Prefect's own, so that the embedded server's database never meets another project's.
What is already in the environment wins: PREFECT_HOME moves the home, PREFECT_API_URL picks a server
that runs.
"""

import contextlib
import os
import tempfile
from pathlib import Path

LOOPBACK = ("localhost", "127.0.0.1", "::1")
REPORT = "report.html"  # the page that every run leaves


def cache_folder() -> Path:
    """Where downloads and parsed tables are kept: RNNFAST_CACHE, else ~/.cache/rnnfast.

    Follows XDG_CACHE_HOME. Where that cannot be written, as in a container without a home, it is a
    folder of this user below the system's temporary folder.
    """
    if chosen := os.environ.get("RNNFAST_CACHE"):
        folder = Path(chosen).expanduser().absolute()
        with contextlib.suppress(OSError):  # whoever writes there says what is wrong with it
            folder.mkdir(parents=True, exist_ok=True)
        return folder
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnfast"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter for a user without a home
        return Path(tempfile.gettempdir()) / f"rnnfast-{os.getuid()}"


def _keep_off_proxies() -> None:
    """Adds this machine to what is not reached through a proxy, beside what the environment has there already.

    Prefect's embedded server, the workers and the pages of `serve` are on loopback, where no proxy is of use.
    """
    names = ("NO_PROXY", "no_proxy")
    hosts = [host.strip() for name in names for host in os.environ.get(name, "").split(",")]
    # A star is understood only where it stands alone.
    hosts = ["*"] if "*" in hosts else [*filter(None, hosts), *LOOPBACK]
    value = ",".join(dict.fromkeys(hosts))
    os.environ.update(dict.fromkeys(names, value))


_keep_off_proxies()
if os.environ.get("PREFECT_API_URL") == "":  # which is no address, and so that of no server
    del os.environ["PREFECT_API_URL"]
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("PREFECT_HOME", str(cache_folder() / "prefect"))
# Before torch is imported. A thread that spins while it waits for another takes the core which that
# one needs: with a third process on two cores, training is then an order of magnitude slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The default, 20 s, is too little for the first start on a busy machine.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
# Steps report outside of a run as well, and to its log inside: it is no mistake either way.
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
# What the steps report goes to Prefect's log of a run as well as to the terminal.
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "flows")
