import logging
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest

from flows.errors import ChecksumError, InputError, TransferError


def run_in_flow(step: Callable[[], str]) -> str:
    """Runs a step as a task that may be tried twice more, at once."""
    from prefect import flow

    from flows.engine import as_task

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
