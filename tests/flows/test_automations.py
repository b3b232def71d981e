"""The automations on a server that runs already."""

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import Result

RunCli = Callable[..., Result]


class Page(http.server.BaseHTTPRequestHandler):
    """Answers with a page, as whatever is at an address that is not Prefect's."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html></html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def client(server: None) -> Iterator[Any]:
    """Of the server, on which no automation is left."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client
        for each in client.read_automations():
            client.delete_automation(each.id)


def test_they_are_put_there_once(client: Any, run_cli: RunCli) -> None:
    first = run_cli("automations")
    assert first.exit_code == 0, first.output
    found = client.read_automations()
    assert sorted(first.stdout.split("\n")) == sorted(["", *(each.name for each in found)])
    assert len(found) == 10
    assert run_cli("automations").stdout == first.stdout
    assert client.read_automations() == found


def test_a_block_is_told(client: Any, run_cli: RunCli) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    missing = run_cli("automations", "--notify", "custom-webhook/nobody")
    assert missing.exit_code == 2
    assert "--notify must name a block of the server" in missing.stderr
    block = CustomWebhookNotificationBlock(name="local", url="http://127.0.0.1:9").save("local")
    result = run_cli("automations", "--notify", "custom-webhook/local")
    assert result.exit_code == 0, result.output
    told = client.read_automations_by_name("rnnfast: notify of drift")
    assert [action.block_document_id for each in told for action in each.actions] == [block]


@pytest.fixture
def page() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def refusal(run_cli: RunCli, address: str | None, *options: str) -> str:
    """What is said where the address is no server's."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}):
        result = run_cli("automations", *options)
    assert result.exit_code == 2, result.output
    assert "PREFECT_API_URL must be the address of a Prefect server that answers" in result.stderr
    return result.stderr


def test_no_server(run_cli: RunCli, page: str) -> None:
    # With no address, Prefect's client would start a server of its own.
    for unset in (None, ""):
        assert "it is not set" in refusal(run_cli, unset)
    for address in (page, "http://127.0.0.1:9/api", "nonsense"):
        assert f"got: {address!r}: " in refusal(run_cli, address)
    assert f"got: {page!r}: " in refusal(run_cli, page, "--notify", "slack-webhook/team")
