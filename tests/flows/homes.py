"""Homes of Prefect with a database, in which a server starts in the time of any but its first start."""

from pathlib import Path

from flows.orchestration.new_database import ready


def prefect_home(folder: Path) -> Path:
    """Makes a folder a home with an empty database, unless it is there."""
    if not folder.exists():
        folder.mkdir(parents=True)
        assert ready(folder / "prefect.db")
    return folder
