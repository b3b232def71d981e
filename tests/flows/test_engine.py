import logging
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from flows.errors import ChecksumError, InputError, TransferError
from flows.progress import rows_bar

if TYPE_CHECKING:
    from prefect.client.schemas.objects import Artifact


def run_in_flow(step: Callable[[], str]) -> str:
    """Runs a step as a task that may be tried twice more, at once."""
    from prefect import flow

    from flows.orchestration.engine import as_task

    attempt = as_task(step, retries=2).with_options(retry_delay_seconds=0)

    @flow(persist_result=False)
    def job() -> str:
        return attempt()

    return job()


def test_a_broken_transfer_is_tried_again(server: None, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = [TransferError("broke off once"), TransferError("and again")]

    def step() -> str:
        if errors:
            raise errors.pop(0)
        return "whole"

    # Prefect has the logger of the flows keep its lines from the root's, where caplog listens.
    logging.getLogger("flows").addHandler(caplog.handler)
    try:
        assert run_in_flow(step) == "whole"
    finally:
        logging.getLogger("flows").removeHandler(caplog.handler)
    assert "broke off once" in caplog.text
    assert "and again" in caplog.text


@pytest.mark.parametrize(
    "error", [InputError("no"), ChecksumError("file", "1", "2"), ValueError("bug")]
)
def test_nothing_else_is(server: None, error: Exception) -> None:
    calls = 0

    def step() -> str:
        nonlocal calls
        calls += 1
        raise error

    with pytest.raises(type(error), match=str(error)):
        run_in_flow(step)
    assert calls == 1


def counted() -> str:
    """Does 40 of 40 rows, 10 at a time."""
    with rows_bar("counting words", 41) as advance:
        for _ in range(4):
            advance(10, 10)
    return "whole"


def progress_artifacts() -> "list[Artifact]":
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType

    with get_client(sync_client=True) as client:
        filter_ = ArtifactFilter(type=ArtifactFilterType(any_=["progress"]))
        return client.read_artifacts(artifact_filter=filter_)


def test_a_task_shows_how_far_it_is(server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.artifacts import update_progress_artifact

    from flows.orchestration import engine

    updates: list[float] = []

    def update(artifact: UUID, percent: float, description: str) -> None:
        updates.append(percent)
        update_progress_artifact(artifact, percent, description)

    monkeypatch.setattr(engine, "update_progress_artifact", update)
    before = {artifact.id for artifact in progress_artifacts()}
    assert run_in_flow(counted) == "whole"
    # The first and the last one; those between came too soon after another.
    assert updates == [100]
    [artifact] = [a for a in progress_artifacts() if a.id not in before]
    assert (artifact.key, artifact.data) == ("counting-words", 100)
    assert artifact.task_run_id is not None
    assert re.fullmatch(r"40 rows, [\d,]+ a second, 0 s left", artifact.description or "")
    monkeypatch.setattr(engine, "UPDATE", 0)
    run_in_flow(counted)
    assert updates == [100, *(100 * n / 41 for n in (20, 30, 40)), 100]


def test_progress_is_nothing_to_fail_or_wait_for(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.orchestration import engine

    calls = 0

    def refuses(*_: object) -> UUID:
        nonlocal calls
        calls += 1
        raise ConnectionError("no server")

    def hangs(*_: object) -> UUID:
        nonlocal calls
        calls += 1
        time.sleep(0.01)
        return uuid4()

    monkeypatch.setattr(engine, "UPDATE", 0)
    monkeypatch.setattr(engine, "SLOW", 0.005)
    for create in (refuses, hangs):
        calls = 0
        monkeypatch.setattr(engine, "create_progress_artifact", create)
        monkeypatch.setattr(engine, "update_progress_artifact", create)
        assert run_in_flow(counted) == "whole"
        assert calls == (1 if create is refuses else 2)  # the last one is tried
    assert counted() == "whole"  # outside of a task


def test_what_is_imported_and_in_which_order() -> None:
    code = """
import importlib, os, pkgutil, sys
import flows.__main__
assert "torch" not in sys.modules
import flows.datasets, flows.steps, flows.parameters
for package in (flows.datasets, flows.steps):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
assert "prefect" not in sys.modules
import flows.reviews
from prefect.settings import get_current_settings
assert get_current_settings().server.analytics_enabled is False
assert os.environ["DO_NOT_TRACK"] == "1"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_survive_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(ChecksumError("file", "1", "2")))
    assert (error.file, error.expected, error.found) == ("file", "1", "2")
