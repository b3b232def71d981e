"""Gets an archive: from its own address, or from a mirror, whole and checked or not at all.

A mirror is a folder, a file:// or an http(s):// address that holds the archives under their names,
and, where they differ from the official ones, a file SHA256SUMS as sha256sum writes it. A broken
transfer leaves a .part file, and the next attempt asks for the rest of it.
"""

import fcntl
import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from flows.datasets.base import Archive
from flows.errors import ChecksumError, InputError, TransferError
from flows.progress import bar

CHUNK = 1 << 20  # bytes read at a time
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
    folder = (
        Path(urllib.request.url2pathname(parts.path))
        if parts.scheme == "file"
        else Path(mirror).expanduser()
    )
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
    with _locked(folder / ".lock"):
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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps other processes from writing to the same .part file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _transfer(url: str, part: Path) -> None:
    """Appends what is missing of the file at an address to the .part file."""
    with part.open("ab") as file:
        start = file.tell()
        wanted = {"Range": f"bytes={start}-"} if start else {}
        try:
            response = _open(url, wanted)
        except urllib.error.HTTPError as error:
            if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing; the sum will tell
            raise _refused(url, error) from error
        with response:
            if start and not _continues(response, start):
                file.truncate(0)
                start = 0
            if start:
                logger.info("going on with %s after %d bytes", url, start)
            _copy(response, file, url)
        file.flush()
        os.fsync(file.fileno())


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(
        url, headers={"User-Agent": "rnnfast", "Accept-Encoding": "identity", **headers}
    )
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(f"{url} could not be reached: {error}") from error
    return response


def _refused(url: str, error: urllib.error.HTTPError) -> InputError | TransferError:
    """4xx will stay; 408, 429 and 5xx may pass."""
    message = f"{url} could not be downloaded: the server answered {error.code} {error.reason}"
    passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    if error.code in passing or error.code >= 500:
        return TransferError(message)
    return InputError(message)


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server sends the rest; one that knows no ranges sends everything again."""
    sent = response.headers.get("Content-Range", "")
    return response.status == HTTPStatus.PARTIAL_CONTENT and sent.startswith(f"bytes {start}-")


def _copy(response: http.client.HTTPResponse, file: BinaryIO, url: str) -> None:
    length = response.headers.get("Content-Length")
    total = int(length) if length else None
    done = 0
    with bar(f"downloading {url.rsplit('/', 1)[-1]}", total, unit="bytes") as advance:
        while True:
            try:
                chunk = response.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise TransferError(f"{url} broke off after {done} bytes: {error}") from error
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            advance(len(chunk))
    if total is not None and done < total:
        raise TransferError(f"{url} broke off after {done} of {total} bytes")


def _read_address(url: str) -> bytes | None:
    """What is at an address, None where there is nothing."""
    try:
        with _open(url, {}) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return None
        raise _refused(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(f"{url} broke off: {error}") from error
