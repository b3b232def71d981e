"""What a job needs of its surroundings, looked at before Prefect's server starts: folders, proxies, profile, server.

Where one of them is not as it must be, Prefect waits for minutes and then shows its own call stack. Here it is one
line that names the setting, its value, and what to do. A job whose files or options are wrong has been refused before.
"""

import gc
import io
import logging
import os
import sqlite3
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import ValidationError

from flows import cache_folder
from flows.errors import InputError
from flows.orchestration.new_database import ready
from flows.orchestration.own_server import OwnServer

ROOM = 4 << 20  # bytes that must be free: of Prefect's database, and of what workers hand over
ANSWER_PATIENCE = (
    30.0  # seconds in which a chosen server has to answer: one on a busy machine may take ten
)
_CONNECT = 5.0  # seconds in which its machine has to take the connection, which even a busy one does at once
_NOTICE = 3.0  # seconds after which the wait is spoken of
_BUSY = 0.2  # seconds to wait for a database that another job is writing to

logger = logging.getLogger(__name__)


@contextmanager
def surroundings(server: OwnServer | None) -> Iterator[None]:
    """Has what a job of Prefect's needs around it: looks, and has a server of its own go where none is chosen.

    The block imports what the job needs, beside the start of the server, which is there after it.

    Args:
        server: what `own_server` has begun.

    Raises:
        InputError: something is not as it must be.
        WorkerError: the server has died.
    """
    require_machine()
    gc.disable()  # of what imports make nothing is ever freed
    try:
        address = chosen_server()
        if address is not None:
            if server is not None:  # a profile, say, has chosen another
                server.stop()
            require_answer(address)
            yield
        else:
            patience, is_ready = _require_own_server()
            server = server or OwnServer()
            server.go(migrate=not is_ready)
            yield
            server.wait(patience)
            address = server.address
        _settle(address)
    finally:
        gc.freeze()
        gc.enable()


def _require_own_server() -> tuple[float, bool]:
    """The seconds that a server of the job's own may take to start, and whether its database needs no migration.

    Raises:
        InputError: there may be no such server, or its database cannot be used.
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    if not settings.ephemeral.enabled:
        raise InputError(
            "PREFECT_API_URL must be the address of a Prefect server, it is not set, and "
            "PREFECT_SERVER_EPHEMERAL_ENABLED keeps one from being started; set either"
        )
    database, url = _home() / "prefect.db", settings.database.connection_url
    is_ready = False
    if url is None or str(database) in url.get_secret_value():
        is_ready = ready(database)
        _require_database(database)
    return settings.ephemeral.startup_timeout_seconds, is_ready


def _settle(address: str) -> None:
    """Has Prefect's clients of this process find a server, and lets a flow end when it is done.

    Where a flow ends, Prefect waits for the thread that sends its heartbeats, which sleeps for a second at a time. So
    they are sent only where somebody has asked for them, as flows/prefect.yaml does for the runs that are watched.
    """
    from prefect import context
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY

    now = context.get_settings_context()
    updates: dict[Any, Any] = {PREFECT_API_URL: address}
    if "heartbeat_frequency" not in now.settings.flows.model_fields_set:
        updates[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
    # For all threads; what `temporary_settings` says holds in the one that says it.
    context.GLOBAL_SETTINGS_CONTEXT = context.SettingsContext(
        profile=now.profile, settings=now.settings.copy_with_update(updates=updates)
    )


def require_machine() -> None:
    """Raises InputError where something of this machine is in the way: a folder, a proxy, a profile."""
    _require_room("TMPDIR", _temporary_folder())
    _require_room("RNNFAST_CACHE", cache_folder())
    home = _home()
    _require_room("PREFECT_HOME", home)
    _require_proxies()
    _require_profile(home)


def _home() -> Path:
    return Path(os.environ["PREFECT_HOME"]).expanduser()


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise InputError(
            f"TMPDIR must be a folder with room that can be written, got: {os.environ.get('TMPDIR')!r}, and "
            "/tmp and /var/tmp are none; set TMPDIR to one"
        ) from None


def _require_room(setting: str, folder: Path) -> None:
    """Raises InputError where a folder cannot be made, or a file in it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError as error:
        raise InputError(
            f"{setting} must be a folder with room that can be written, got: {str(folder)!r}: {error.strerror}; "
            f"free some room, or set {setting} to another folder"
        ) from error


def _require_database(path: Path) -> None:
    """Raises InputError where the database of the embedded server is broken, or cannot be written."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        if "locked" in str(error):  # by a job that runs
            return
        raise InputError(
            f"PREFECT_HOME must hold a database that can be used, {path} is not: {error}; remove that file, or set "
            "PREFECT_HOME to another folder"
        ) from error


def _require_proxies() -> None:
    """Raises InputError where Prefect's client would not start for a proxy that it cannot use, wanted or not."""
    for scheme, proxy in getproxies().items():
        if scheme not in ("http", "https", "all"):
            continue
        kind = proxy.partition("://")[0].lower() if "://" in proxy else "http"
        try:
            is_known = kind in ("http", "https", "socks5", "socks5h") and bool(
                urlsplit(proxy if "://" in proxy else f"http://{proxy}").hostname
            )
            urlsplit(proxy).port  # noqa: B018 (raises where it is no number)
        except ValueError:
            is_known = False
        setting = f"{scheme.upper()}_PROXY"
        if not is_known:
            raise InputError(
                f"{setting} must be the address of a proxy, such as http://host:8080, got: {_without_key(proxy)!r}; "
                "correct it or unset it"
            )
        if kind.startswith("socks") and find_spec("socksio") is None:
            raise InputError(
                f"{setting} must be an http:// proxy unless the package socksio is installed, got: "
                f"{_without_key(proxy)!r}; pip install socksio, or unset it"
            )


def _without_key(address: str) -> str:
    """An address without the name and the password that it may hold."""
    before, separator, host = address.rpartition("@")
    scheme = before.partition("://")[0] if "://" in before else ""
    return address if not separator else f"{scheme}://{host}" if scheme else host


def _require_profile(home: Path) -> None:
    """Raises InputError where the profiles cannot be read, or the one that is chosen is not among them."""
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    own = _profiles(path)
    names = [*own.get("profiles", {}), *_usual_profiles()]
    setting, chosen = "PREFECT_PROFILE", os.environ.get("PREFECT_PROFILE")
    if chosen is None:
        setting, chosen = f"active in {path}", own.get("active")
    if chosen is not None and chosen not in names:
        raise InputError(
            f"{setting} must name a profile, one of {', '.join(dict.fromkeys(names))}, got: {chosen!r}; correct it or "
            "unset it"
        )


def _profiles(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"PREFECT_PROFILES_PATH must be a file of Prefect's profiles, {path} is not: {error}; correct or remove it"
        ) from error


def _usual_profiles() -> Iterator[str]:
    """The names of those that Prefect brings along."""
    package = find_spec("prefect")  # which is not imported: it stops at what is looked for here
    for place in (package.submodule_search_locations or []) if package else []:
        yield from _profiles(Path(place, "settings", "profiles.toml")).get("profiles", {})


def chosen_server() -> str | None:
    """The address of the Prefect server that is chosen, by the environment or a profile; None: of none.

    Raises:
        InputError: a setting of Prefect's has a value that it does not take.
    """
    # Prefect says there what is wrong with a setting, and goes on to the error.
    try:
        with redirect_stderr(io.StringIO()):
            from prefect.settings import get_current_settings

            return get_current_settings().api.url or None
    except ValidationError as error:
        raise _wrong_setting(error) from error


def require_answer(address: str) -> None:
    """Raises InputError where no Prefect server answers at an address, which is the chosen one."""
    from httpx import Timeout
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    waiting = (
        f"Waiting up to {ANSWER_PATIENCE:g} s for the Prefect server at {_without_key(address)}"
    )
    notice = threading.Timer(_NOTICE, logger.warning, [waiting])
    notice.daemon = True
    notice.start()
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(
                {"timeout": Timeout(ANSWER_PATIENCE, connect=_CONNECT)}, sync_client=True
            ) as client,
        ):
            client.raise_for_api_version_mismatch()
    except Exception as error:  # of httpx, of pydantic, of JSON, and RuntimeError
        raise InputError(
            "PREFECT_API_URL must be the address of a Prefect server that answers, such as "
            f"http://127.0.0.1:4200/api, got: {_without_key(address)!r}: {_reason(error)}{_through(address)}; start "
            "the server, correct the address, or unset it for a server of the job's own"
        ) from error
    finally:
        notice.cancel()


def _through(address: str) -> str:
    """Which proxy is between, in words."""
    parts, proxies = urlsplit(address), getproxies()
    scheme = parts.scheme if parts.scheme in proxies else "all"
    if scheme not in proxies or proxy_bypass(parts.hostname or ""):
        return ""
    return f", through {scheme.upper()}_PROXY {_without_key(proxies[scheme])}"


def _reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    from httpx import ConnectTimeout, TimeoutException

    while error.__cause__ is not None and not hasattr(error, "response"):
        if isinstance(error, TimeoutException):
            limit = _CONNECT if isinstance(error, ConnectTimeout) else ANSWER_PATIENCE
            return f"no answer within {limit:g} s"
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        hint = (
            ", PREFECT_API_KEY or PREFECT_API_AUTH_STRING is wrong" if status in (401, 403) else ""
        )
        return f"it answers with status {status}{hint}"
    return " ".join(str(error).split()) or type(error).__name__


def _wrong_setting(error: ValidationError) -> InputError:
    first = error.errors()[0]
    # Which part of Prefect's settings it is of is not said, but what its name ends with.
    field = "_".join(map(str, first["loc"])).upper()
    set_here = [name for name in os.environ if name.startswith("PREFECT_") and name.endswith(field)]
    name = " or ".join(set_here) or f"PREFECT_..._{field}"
    return InputError(
        f"{name} must be a value that Prefect takes, got: {first['input']!r}: {first['msg']}; correct it or unset it"
    )
