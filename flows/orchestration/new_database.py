"""The database of Prefect's server in a new home, made at once: Prefect's own migrations take 8 s of the CPU for it.

`new_database.sql` is what the migrations of one version of Prefect leave behind, and its first line says which. With
another version installed it is not used, and Prefect migrates. To make it again, in the environment of a new version:
`python -m flows.orchestration.new_database`.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

SCRIPT = Path(__file__).with_suffix(".sql")


def ready(database: Path) -> bool:
    """Whether a database needs no migration; makes it first where there is none.

    Args:
        database: where a server of Prefect has its SQLite, in a folder that exists.
    """
    script = SCRIPT.read_text(encoding="utf-8")
    _, prefect, revision = script.partition("\n")[0].split()
    if prefect != version("prefect"):
        return False
    if not database.exists():
        with suppress(OSError, sqlite3.Error):  # Prefect says what is wrong with the folder
            _make(database, script)
    return revision == _revision(database)


def _make(database: Path, script: str) -> None:
    """Puts a new database in its place as a whole; where another job has been faster, that one's stays."""
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=database.name) as folder:
        part = Path(folder, database.name)
        with closing(sqlite3.connect(part)) as connection:
            connection.executescript(script)
        os.link(part, database)  # which replaces nothing


def _revision(database: Path) -> str | None:
    """Up to which migration a database is; None if it is none, or cannot be read now."""
    if not database.exists():
        return None
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        return str(rows[0][0]) if len(rows) == 1 else None
    return None


def migrated() -> str:
    """The script of the database that the migrations of the installed Prefect make."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
        environment = os.environ | {"PREFECT_HOME": home}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        database = Path(home, "prefect.db")
        with closing(sqlite3.connect(database)) as connection:
            lines = [f"-- {version('prefect')} {_revision(database)}", *connection.iterdump()]
    return "".join(f"{line.rstrip()}\n" for line in "\n".join(lines).splitlines())


if __name__ == "__main__":
    SCRIPT.write_text(migrated(), encoding="utf-8")
