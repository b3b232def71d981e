"""Homes of Prefect that have a database already: to make one takes 8 s of the CPU, more than the rest of a job."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

from flows.store.locks import locked
from tests.compiled import FOLDER


def prefect_home(folder: Path) -> Path:
    """Makes a folder a home with an empty database, unless it is there."""
    if not folder.exists():
        folder.mkdir(parents=True)
        shutil.copy(_database(), folder / "prefect.db")
    return folder


@cache
def _database() -> Path:
    """The database as this version of Prefect makes it, once for each environment."""
    made = FOLDER / f"prefect-{version('prefect')}.db"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with locked(FOLDER), tempfile.TemporaryDirectory() as home:
        if not made.exists():
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            environment = os.environ | {"PREFECT_HOME": home}
            subprocess.run(command, env=environment, check=True, capture_output=True)
            Path(home, "prefect.db").replace(made)
    return made
