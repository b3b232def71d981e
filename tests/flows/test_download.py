import gzip
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.datasets.base import Archive
from flows.errors import ChecksumError, InputError, TransferError
from flows.steps.prepare import download as step
from flows.steps.prepare.download import download

CONTENT = bytes(range(256)) * 4096
SUM = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A server of files that can be told to misbehave."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True  # whether it answers requests for a part with that part
    break_after: list[int] = field(default_factory=list)  # bytes sent before it hangs up, in turn
    status: list[int] = field(default_factory=list)  # codes that it answers with instead, in turn
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range

    def archive(self, sha256: str | None = SUM) -> Archive:
        return Archive("data.bin", f"{self.address}/data.bin", sha256)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(files={"/data.bin": CONTENT})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            state.requests.append((self.path, asked))
            if state.status:
                self.send_error(state.status.pop(0))
                return
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = 0
            if asked and state.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = start + state.break_after.pop(0) if state.break_after else len(content)
            self.wfile.write(content[start:stop])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.address = f"http://127.0.0.1:{running.server_address[1]}"
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        running.shutdown()


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.part"))


def test_downloads_once(server: Server, tmp_path: Path) -> None:
    path = download(server.archive(), tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == "data.bin"
    assert not parts(tmp_path)
    assert download(server.archive(), tmp_path) == path
    assert len(server.requests) == 1


def test_goes_on_where_a_transfer_broke_off(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 200_000]
    for _ in range(2):
        with pytest.raises(TransferError, match="broke off"):
            download(server.archive(), tmp_path)
    assert parts(tmp_path)[0].read_bytes() == CONTENT[:500_000]
    assert download(server.archive(), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert not parts(tmp_path)


def test_starts_again_where_the_server_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after = [300_000]
    with pytest.raises(TransferError):
        download(server.archive(), tmp_path)
    assert download(server.archive(), tmp_path).read_bytes() == CONTENT


def test_a_whole_part_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    server.break_after = [10]
    with pytest.raises(TransferError):
        download(server.archive(), tmp_path)
    parts(tmp_path)[0].write_bytes(CONTENT)
    assert download(server.archive(), tmp_path).read_bytes() == CONTENT


def test_a_wrong_part_is_found_and_removed(server: Server, tmp_path: Path) -> None:
    server.break_after = [10]
    with pytest.raises(TransferError):
        download(server.archive(), tmp_path)
    parts(tmp_path)[0].write_bytes(b"not these")
    with pytest.raises(ChecksumError):
        download(server.archive(), tmp_path)
    assert download(server.archive(), tmp_path).read_bytes() == CONTENT


def test_checksum_error_names_file_expected_and_found(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ChecksumError) as error:
        download(server.archive("0" * 64), tmp_path)
    assert error.value.expected == "0" * 64
    assert error.value.found == SUM
    for part in (server.archive().url, "0" * 64, SUM):
        assert part in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_cached_file_that_rotted_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = download(server.archive(), tmp_path)
    path.write_bytes(b"rotten")
    assert download(server.archive(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, InputError), (403, InputError), (500, TransferError), (503, TransferError),
     (429, TransferError)],
)  # fmt: skip
def test_what_the_server_answers(
    server: Server, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    server.status = [status]
    with pytest.raises(error, match=str(status)):
        download(server.archive(), tmp_path)


def test_no_server(tmp_path: Path) -> None:
    archive = Archive("data.bin", "http://127.0.0.1:9/data.bin", SUM)
    with pytest.raises(TransferError, match="could not be reached"):
        download(archive, tmp_path)


def test_a_full_disk_is_no_broken_transfer(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        download(server.archive(), tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a mirror"
    path.mkdir()
    (path / "data.bin").write_bytes(CONTENT)
    (path / "SHA256SUMS").write_text(f"{'1' * 64}  other.bin\n{SUM} *data.bin\n")
    return path


NOWHERE = Archive("data.bin", "http://127.0.0.1:9/data.bin", "f" * 64)


@pytest.mark.parametrize("spell", [str, Path.as_uri], ids=["folder", "file address"])
def test_a_local_mirror_is_used_where_it_lies(
    folder: Path, tmp_path: Path, spell: Callable[[Path], str]
) -> None:
    assert download(NOWHERE, tmp_path / "cache", spell(folder)) == folder / "data.bin"
    assert not (tmp_path / "cache").exists()


def test_an_http_mirror_with_its_own_sums(server: Server, tmp_path: Path) -> None:
    server.files = {
        "/m/data.bin": CONTENT,
        "/m/SHA256SUMS": f"{SUM.upper()}  data.bin\n".encode(),
    }
    path = download(NOWHERE, tmp_path, f"{server.address}/m/")
    assert path.read_bytes() == CONTENT


def test_a_mirror_without_sums_is_held_to_the_official_one(
    server: Server, folder: Path, tmp_path: Path
) -> None:
    (folder / "SHA256SUMS").unlink()
    official = server.archive()
    assert download(official, tmp_path, str(folder)) == folder / "data.bin"
    assert download(official, tmp_path, server.address).read_bytes() == CONTENT
    with pytest.raises(ChecksumError):
        download(NOWHERE, tmp_path, str(folder))


def test_a_mirror_with_a_wrong_sum(server: Server, folder: Path, tmp_path: Path) -> None:
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  data.bin\n")
    with pytest.raises(ChecksumError, match=rf"data\.bin.*{'0' * 64}.*{SUM}"):
        download(NOWHERE, tmp_path, str(folder))
    server.files["/SHA256SUMS"] = f"{'0' * 64}  data.bin\n".encode()
    with pytest.raises(ChecksumError):
        download(NOWHERE, tmp_path, server.address)


def test_a_mirror_whose_sums_lack_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / "SHA256SUMS").write_text(f"{SUM}  my data.bin\n")
    with pytest.raises(InputError, match=r"SHA256SUMS must list the SHA-256 of data\.bin"):
        download(NOWHERE, tmp_path, str(folder))


def test_a_mirror_without_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / "data.bin").unlink()
    with pytest.raises(InputError, match=r"--mirror must hold data\.bin"):
        download(NOWHERE, tmp_path, str(folder))


@pytest.mark.parametrize("mirror", ["/no/such/folder", "file:///no/such/folder", "ftp://host/x"])
def test_a_mirror_that_is_not_there(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(InputError, match="--mirror must be a folder that exists"):
        download(NOWHERE, tmp_path, mirror)


def test_compressed_in_transit_would_break_ranges(server: Server, tmp_path: Path) -> None:
    server.files["/data.bin"] = packed = gzip.compress(CONTENT)
    archive = server.archive(hashlib.sha256(packed).hexdigest())
    assert download(archive, tmp_path).read_bytes() == packed


def test_a_file_whose_sum_nobody_publishes(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = server.archive(sha256=None)
    with caplog.at_level("WARNING", logger="flows"):
        path = download(archive, tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert f"nobody publishes the SHA-256 of {archive.url}, it is {SUM} here" in caplog.text
    assert download(archive, tmp_path / "cache") == path
    assert len(server.requests) == 1
    # A mirror's own sum counts all the same.
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "data.bin").write_bytes(CONTENT)
    (mirror / "SHA256SUMS").write_text(f"{'0' * 64}  data.bin\n")
    with pytest.raises(ChecksumError):
        download(archive, tmp_path, str(mirror))


def test_a_file_that_only_a_mirror_has(tmp_path: Path) -> None:
    archive = Archive("data.bin", None, None)
    with pytest.raises(InputError, match=r"--mirror must be given for data\.bin"):
        download(archive, tmp_path)
    (tmp_path / "data.bin").write_bytes(CONTENT)
    assert download(archive, tmp_path, str(tmp_path)) == tmp_path / "data.bin"
