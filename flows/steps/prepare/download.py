"""Gets an archive: from its own address, or from a mirror, whole and checked or not at all.

A mirror is a folder, a file:// or an http(s):// address that holds the archives under their names,
and, where they differ from the official ones, a file SHA256SUMS as sha256sum writes it. A broken
transfer leaves a .part file, and the next attempt asks for the rest of it.
"""

import hashlib
import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import httpx

from flows.datasets.base import Archive
from flows.errors import ChecksumError, InputError, TransferError
from flows.progress import bar
from flows.store.locks import locked
from flows.wording import size

TIMEOUT = 60  # seconds without a byte before a transfer counts as broken

logger = logging.getLogger(__name__)


def download(archive: Archive, cache: Path, mirror: str | None = None) -> Path:
    """Returns the path of the archive, checked; a local mirror's file is used where it lies.

    Args:
        archive: what to get.
        cache: folder below which archives that came over the network are kept.
        mirror: a folder, file:// or http(s):// address; None takes the archive's own address.

    Raises:
        ChecksumError: the file is not the one of the official or the mirror's sum.
        InputError: the mirror is not there, or does not have the file.
        TransferError: the transfer broke off; what came so far is kept.
    """
    local = require_place(archive, mirror)
    if mirror is None:
        assert archive.url is not None
        return _fetched(archive.url, archive.name, archive.sha256, cache)
    if local is not None:
        return _checked_in_place(local, archive)
    base = mirror.rstrip("/")
    sums = _read_address(f"{base}/SHA256SUMS")
    expected = _listed(sums, f"{base}/SHA256SUMS", archive) if sums else archive.sha256
    return _fetched(f"{base}/{quote(archive.name)}", archive.name, expected, cache)


def require_place(archive: Archive, mirror: str | None) -> Path | None:
    """The local folder that an archive is taken from; None where it is to be downloaded.

    Raises:
        InputError: there is no address to take it from, or no such folder, or the folder does not have it.
    """
    if mirror is None:
        if archive.url is None:
            raise InputError(
                f"--mirror must be given for {archive.name}, which has no address of its own"
            )
        return None
    folder = _local_folder(mirror)
    if folder is not None and not (folder / archive.name).is_file():
        raise InputError(f"--mirror must hold {archive.name}, {folder} does not")
    return folder


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local_folder(mirror: str) -> Path | None:
    parts = urlsplit(mirror)
    if parts.scheme in ("http", "https"):
        return None
    folder = Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(mirror).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"--mirror must be a folder that exists, a file:// or an http(s):// address, "
            f"got {mirror!r}"
        )
    return folder


def _checked_in_place(folder: Path, archive: Archive) -> Path:
    path, sums = folder / archive.name, folder / "SHA256SUMS"
    expected = archive.sha256
    if sums.is_file():
        expected = _listed(sums.read_bytes(), str(sums), archive)
    _check(path, str(path), expected)
    return path


def _check(path: Path, name: str, expected: str | None) -> None:
    """Raises ChecksumError unless the sum is the expected one; reports it where none is known."""
    found = sha256(path)
    if expected is None:
        logger.warning("nobody publishes the SHA-256 of %s, it is %s here", name, found)
    elif found != expected:
        raise ChecksumError(name, expected, found)


def _listed(sums: bytes, where: str, archive: Archive) -> str:
    """The sum that a SHA256SUMS file has for the archive."""
    for line in sums.decode(errors="replace").splitlines():
        digest, _, name = line.partition(" ")
        # Two characters part sum and name: a space, and another or the star of binary mode.
        if name[1:] == archive.name and len(digest) == 64:
            return digest.lower()
    raise InputError(f"{where} must list the SHA-256 of {archive.name}, it does not")


def _fetched(url: str, name: str, expected: str | None, cache: Path) -> Path:
    folder = cache / "downloads" / (expected or hashlib.sha256(url.encode()).hexdigest())[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    part = path.with_name(f"{name}.part")
    # From other processes, which would write to the same .part file.
    with locked(folder):
        if path.is_file() and (expected is None or sha256(path) == expected):
            return path
        _transfer(url, part)
        try:
            _check(part, url, expected)
        except ChecksumError:
            part.unlink()
            raise
        part.replace(path)
    return path


def _transfer(url: str, part: Path) -> None:
    """Appends what is missing of the file at an address to the .part file."""
    with part.open("ab") as file:
        start = file.tell()
        wanted = {"Range": f"bytes={start}-"} if start else {}
        with _answer(url, wanted) as response:
            if start and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing; the sum will tell
            _require_success(url, response)
            if start and not _continues(response, start):
                file.truncate(0)
                start = 0
            if start:
                logger.info("going on with %s after %s", url, size(start))
            _copy(response, file, url)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _answer(url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """What is at an address, before its body is read; raises TransferError where it does not come, or breaks off."""
    own = {"User-Agent": "rnnfast", "Accept-Encoding": "identity"}
    trusted = ssl.create_default_context()  # what this machine trusts, not a list of httpx's own
    came = False
    try:
        with httpx.stream(
            "GET",
            url,
            headers={**own, **headers},
            timeout=TIMEOUT,
            verify=trusted,
            follow_redirects=True,
        ) as response:
            came = True
            yield response
    except (httpx.RequestError, httpx.InvalidURL) as error:
        what = "broke off" if came else "could not be reached"
        raise TransferError(f"{url} {what}: {error}") from error


def _require_success(url: str, response: httpx.Response) -> None:
    """Raises InputError for what will stay, such as 404, and TransferError for what may pass: 408, 429 and 5xx."""
    if response.is_success:
        return
    code = response.status_code
    message = f"{url} could not be downloaded: the server answered {code} {response.reason_phrase}"
    passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    raise TransferError(message) if code in passing or code >= 500 else InputError(message)


def _continues(response: httpx.Response, start: int) -> bool:
    """Whether the server sends the rest; one that knows no ranges sends everything again."""
    sent = response.headers.get("Content-Range", "")
    return response.status_code == HTTPStatus.PARTIAL_CONTENT and sent.startswith(f"bytes {start}-")


def _copy(response: httpx.Response, file: BinaryIO, url: str) -> None:
    """Writes the body as it comes; httpx raises where it ends before its length."""
    length = response.headers.get("Content-Length")
    total = int(length) if length else None
    with bar(f"downloading {url.rsplit('/', 1)[-1]}", total, unit="bytes") as advance:
        for chunk in response.iter_raw():
            file.write(chunk)
            advance(len(chunk))


def _read_address(url: str) -> bytes | None:
    """What is at an address, None where there is nothing."""
    with _answer(url, {}) as response:
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        _require_success(url, response)
        return response.read()
