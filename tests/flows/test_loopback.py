import asyncio
from typing import Any

import pytest

from flows.orchestration.loopback import OnlyFromHere


def asked(kind: str, **headers: str) -> list[dict[str, Any]]:
    """What is sent to who asks with these headers."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "reached"})

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(OnlyFromHere(app)({"type": kind, "headers": given}, receive, send))
    return sent


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_this_machine_is_answered(kind: str) -> None:
    assert asked(kind, host="127.0.0.1:4200") == [{"type": "reached"}]
    assert asked(kind, host="localhost", origin="http://127.0.0.1:4201") == [{"type": "reached"}]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:4200"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "[::broken"},
        {"host": "127.0.0.1:4200", "origin": "https://evil.example"},
        {"host": "127.0.0.1:4200", "origin": "http://127.0.0.1@evil.example"},
        {"host": "127.0.0.1:4200", "origin": "null"},
    ],
)
def test_a_page_of_elsewhere_is_not(headers: dict[str, str]) -> None:
    assert asked("http", **headers)[0]["status"] == 403
    assert asked("websocket", **headers) == [{"type": "websocket.close", "code": 1008}]


def test_other_messages_pass() -> None:
    assert asked("lifespan") == [{"type": "reached"}]
