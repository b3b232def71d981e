"""The database that a new home of Prefect gets."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import prefect.server.database
import pytest

from flows.orchestration import new_database
from flows.orchestration.new_database import SCRIPT, migrated, ready

MIGRATIONS = Path(prefect.server.database.__file__).parent / "_migrations/versions/sqlite"


def test_it_is_of_the_last_migration_of_this_prefect() -> None:
    texts = [path.read_text() for path in MIGRATIONS.glob("*.py")]
    revisions = {
        match for text in texts for match in re.findall(r'^revision = "(\w+)"', text, re.M)
    }
    before = {
        match for text in texts for match in re.findall(r'^down_revision = "(\w+)"', text, re.M)
    }
    _, version, revision = SCRIPT.read_text().splitlines()[0].split()
    assert (version, {revision}) == (prefect.__version__, revisions - before)


@pytest.mark.soak
def test_it_is_what_the_migrations_make() -> None:
    assert SCRIPT.read_text() == migrated()


def test_jobs_that_start_together_share_one(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ready, [path] * 16))
    assert list(tmp_path.iterdir()) == [path]
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'older'")
        database.commit()
    assert not ready(path)


def test_another_version_of_prefect_makes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_database, "version", lambda _: "4.0")
    assert not ready(tmp_path / "prefect.db")
    assert not list(tmp_path.iterdir())


def test_what_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    path.write_text("no database " * 999)
    assert not ready(path)
    assert path.read_text() == "no database " * 999
