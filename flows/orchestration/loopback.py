"""Keeps pages of strangers, which a browser of this machine may show, from what `serve` opens on loopback."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

_HERE = {"127.0.0.1", "localhost"}


class OnlyFromHere:
    """An ASGI application that is asked by this machine's own names alone, and by no page of elsewhere.

    A page whose name leads to this machine says that name as the host, any other page says where it is from as the
    origin, even where the browser would keep the answer from it. Programs say no origin.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers 403 to who may not ask."""
        if scope["type"] not in ("http", "websocket") or _is_from_here(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send(
                {"type": "http.response.body", "body": b"only this machine's own pages may ask\n"}
            )


def _is_from_here(headers: list[tuple[bytes, bytes]]) -> bool:
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    return all(_host(f"//{host}") in _HERE for host in hosts) and all(
        _host(origin) in _HERE for origin in origins
    )


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def prefect_server() -> OnlyFromHere:
    """Prefect's server with its UI."""
    from prefect.server.api.server import create_app

    return OnlyFromHere(create_app())
