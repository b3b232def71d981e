"""Files and folders, local or at an object store (`s3://`), by the file systems of Arrow.

An address is a local path, or a URI that Arrow understands, such as `s3://bucket/reviews`; what it needs to know
beside that, it takes from the environment (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, ...) or from the URI
(`s3://bucket/reviews?region=eu-central-1`).

A glob means everywhere what it means to Python's `glob`: `**` is any number of folders, and at the end all that is
below; no sign stands for the dot at the beginning of a name. In a URI a `?` is a sign of a glob, unless an option
follows it, `name=value`.

What is written here is there as a whole or not at all: locally by a temporary file that is renamed when it is on the
disk, at an object store since an object appears when the last of it has come.
"""

import glob
import hashlib
import os
import posixpath
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from flows.errors import InputError
from flows.store.file_options import FOUND, FileOptions
from flows.store.object_store import patient
from flows.unfinished import at_end

PACKED = (".gz", ".bz2", ".zst", ".lz4")
OBJECT_STORES = ("s3", "gcs", "abfs")  # by Arrow's names: a folder is there while it holds a file
_GLOB = re.compile(r"[*?[]")  # where a glob begins
_QUERY = re.compile(r"\?(?=\w+=)")  # where that of a URI begins
# What is before the bucket of a URI, also where nobody has written the slashes in a key as %2F.
_KEYS = re.compile(r"^[^/]*:[^@]*@|^[^/]*@")
BLOCK = 4 << 20  # bytes that are read of a stream at a time
STALE = 24 * 3600  # seconds after which a temporary file of another machine is nobody's
HOST_NAME = socket.gethostname().replace(".", "_")  # in the names of temporary files


@dataclass(frozen=True)
class File:
    """A file that exists: its file system, its path there, its size in bytes, and when it was modified last.

    The latter is in nanoseconds since 1970; 0 where nobody asked. `options` are how it is to be read; `form` is its
    kind where that is not by its name; `place` is its path below the folder of the input, so that moving all files
    changes none.
    """

    system: fs.FileSystem
    path: str
    size: int
    modified: int = 0
    options: FileOptions = FOUND
    form: str = ""
    place: str = ""

    def __str__(self) -> str:
        return _address(self.system, self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)

    def below(self, folder: str) -> "File":
        """The same file, with its place below a folder that it is in, which may be that of all: `/`."""
        return replace(self, place=self.path[len(folder.rstrip("/")) + 1 :])

    @property
    def is_packed(self) -> bool:
        """Whether it is compressed as a whole, by its name."""
        return self.name.lower().endswith(PACKED)

    @property
    def kind(self) -> str:
        """`csv`, `jsonl` or `parquet` by its name, a suffix of compression aside; or what its suffix is."""
        return self.form or _kind(self.name)

    def stream(self) -> pa.NativeFile:
        """Its content from the first byte on, unpacked."""
        codec = pa.Codec.detect(self.name.lower()).name if self.is_packed else None
        return self.system.open_input_stream(self.path, compression=codec)

    def random(self) -> pa.NativeFile:
        """Its bytes as they are, for access at any place."""
        return self.system.open_input_file(self.path)

    def sha256(self) -> str:
        """The SHA-256 of its bytes in hexadecimal."""
        with self.random() as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def is_unchanged(self) -> bool:
        """Whether it is still there with this size and time."""
        return not changed([self])

    def between(self, begin: int, end: int) -> pa.Buffer:
        """The bytes of its content, unpacked, from one place to another."""
        if not self.is_packed:
            with self.random() as file:
                file.seek(begin)
                return file.read_buffer(end - begin)
        with self.stream() as file:
            while begin > 0:
                passed = len(file.read(min(begin, BLOCK)))
                if passed == 0:
                    return pa.py_buffer(b"")
                begin -= passed
                end -= passed
            return file.read_buffer(end - begin)


def find(
    pattern: str, argument: str, kinds: tuple[str, ...] | None, *, may_be_none: bool = False
) -> list[File]:
    """The files that an address names, sorted by path: one file, a glob, or all files of the `kinds` in a folder.

    In a folder names that begin with a dot or an underscore are passed over.

    Args:
        pattern: the address.
        argument: what the command line calls it.
        kinds: what the files may be; None: anything.
        may_be_none: whether a folder may be empty, as one of an object store is that is not there, and a glob match
            nothing.

    Raises:
        InputError: there is none, or one that is named is not of the `kinds` by its name.
    """
    system, path = located(pattern, argument)
    try:
        infos, of_folder = _listed(system, path)
        files = sorted(
            (
                File(system, info.path, info.size, info.mtime_ns or 0)
                for info in infos
                if info.type == fs.FileType.File
            ),
            key=lambda file: file.path,
        )
    except UnicodeError as error:  # comes when a name is asked for
        name = getattr(error, "object", "")
        raise InputError(
            f"{argument} must name files whose names are UTF-8, {redacted(pattern)!r} has {name!r}"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise InputError(f"{argument} {redacted(pattern)!r} cannot be read: {error}") from error
    if of_folder:
        inside = len(path.rstrip("/")) + 1
        files = [f for f in files if not is_hidden(f.path[inside:])]
        files = [f for f in files if kinds is None or f.kind in kinds]
    if not files and not (may_be_none and (of_folder or _may_come(system, path))):
        what = f"a folder with {_listing(kinds or ())} files" if of_folder else "a file that exists"
        raise InputError(f"{argument} must name {what}, got {redacted(pattern)!r}")
    for file in files:
        if kinds is not None and file.kind not in kinds:
            raise InputError(f"{argument} must name {_listing(kinds)} files, got {str(file)!r}")
    return files


def changed(files: Sequence[File]) -> list[File]:
    """Those of some files of one file system that are gone, or have another size or time than they had."""
    if not files:
        return []
    infos = files[0].system.get_file_info([file.path for file in files])
    return [
        file
        for file, info in zip(files, infos, strict=True)
        if info.size != file.size or (info.mtime_ns or 0) != file.modified
    ]


def base_folder(pattern: str, argument: str) -> str:
    """The path of the folder that all files which an address may ever name are below."""
    system, path = located(pattern, argument)
    info = system.get_file_info(path)
    if info.type == fs.FileType.Directory:
        return path.rstrip("/")
    return posixpath.dirname(path if info.type == fs.FileType.File else _GLOB.split(path, 1)[0])


def glob_signs(path: str) -> tuple[str, list[str]]:
    """The folder before the glob in a path, and the parts of the glob below it; none where it is no glob."""
    if not _GLOB.search(path):
        return path, []
    folder = posixpath.dirname(_GLOB.split(path, maxsplit=1)[0])
    signs = path[len(folder) :].strip("/").split("/")
    return folder, [*signs, "*"] if signs[-1] == "**" else signs


def redacted(address: str) -> str:
    """An address as others may read it: without the keys and options that a URI may hold."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    return f"{scheme}://{_KEYS.sub('', _QUERY.split(rest, maxsplit=1)[0])}"


def common_folder(files: list[File]) -> str:
    """The path of the folder that all files are below."""
    return posixpath.commonpath([posixpath.dirname(file.path) for file in files])


@dataclass(frozen=True)
class Folder:
    """A folder to write into; `path` is that in the file system."""

    system: fs.FileSystem
    path: str

    @classmethod
    def at(cls, address: str | Path, argument: str) -> "Folder":
        """The folder of an address; it need not exist.

        Raises:
            InputError: there is no such file system.
        """
        system, path = located(str(address), argument)
        return cls(system, path.rstrip("/") or path)

    def __str__(self) -> str:
        return _address(self.system, self.path)

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.system, f"{self.path}/{name}")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine's own file system."""
        return isinstance(self.system, fs.LocalFileSystem)

    def make(self) -> None:
        """Makes it, and those above it; an object store has no folders to make."""
        if self.is_local:
            Path(self.path).mkdir(parents=True, exist_ok=True)

    def sizes(self) -> dict[str, int]:
        """The files in it, without those in folders within: {name: bytes}."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        infos = self.system.get_file_info(selector)
        return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}

    def size(self, name: str) -> int | None:
        """The size of a file in bytes; None where there is no such file."""
        info = self.system.get_file_info(f"{self.path}/{name}")
        return info.size if info.type == fs.FileType.File else None

    def file(self, name: str) -> File:
        """A file that is known to be there."""
        return File(self.system, f"{self.path}/{name}", self.size(name) or 0)

    def read(self, name: str) -> bytes:
        """The content of a file; raises FileNotFoundError."""
        with self.system.open_input_file(f"{self.path}/{name}") as file:
            result: bytes = file.read()
            return result

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Puts a file there, in place of one of that name, as a whole or not at all."""
        if not self.is_local:
            with self.system.open_output_stream(f"{self.path}/{name}") as file:
                file.write(content)
            return
        self.make()
        with replacing(Path(self.path, name)) as temporary:
            temporary.write_bytes(content)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with suppress(FileNotFoundError):
            self.system.delete_file(f"{self.path}/{name}")

    def sweep(self) -> int:
        """Removes the temporary files that processes left which have ended; returns their number."""
        if not self.is_local:
            return 0
        found = [path for path in Path(self.path).glob(".*.tmp") if _is_stale(path)]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def remove_if_empty(self) -> None:
        """Removes it where nothing is in it."""
        if self.is_local:
            with suppress(OSError):
                Path(self.path).rmdir()


def located(address: str, argument: str) -> tuple[fs.FileSystem, str]:
    """The file system of an address, and the path there, which may be a glob."""
    if "://" not in address:
        return fs.LocalFileSystem(), str(Path(address).expanduser().absolute())
    # Signs of a glob are none of a URI's path.
    place, *options = _QUERY.split(address, maxsplit=1)
    scheme, _, rest = place.partition("://")
    bucket, slash, path = rest.partition("/")
    uri = "?".join([f"{scheme}://{bucket}/", *options])
    try:
        system, root = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).replace(uri, redacted(address))
        # Not `from error`, which may hold the keys.
        raise InputError(
            f"{argument} must be a path or a URI such as s3://bucket/folder, got {redacted(address)!r}: {reason}"
        ) from None
    return patient(system), (root.rstrip("/") + slash + path) or "/"


def _address(system: fs.FileSystem, path: str) -> str:
    scheme = system.type_name.removeprefix("py::")
    return path if scheme == "local" else f"{scheme}://{path}"


def _listed(system: fs.FileSystem, path: str) -> tuple[list[fs.FileInfo], bool]:
    """What there is at a path or glob, and whether it is a folder's content."""
    info = system.get_file_info(path)
    if info.type == fs.FileType.Directory:
        return system.get_file_info(fs.FileSelector(path, recursive=True)), True
    if info.type != fs.FileType.NotFound:
        return [info], False
    if isinstance(system, fs.LocalFileSystem):
        return system.get_file_info(sorted(glob.glob(path, recursive=True))), False
    if not _GLOB.search(path):
        return [], False
    before = _GLOB.split(path, maxsplit=1)[0]
    selector = fs.FileSelector(posixpath.dirname(before), allow_not_found=True, recursive=True)
    signs = path.split("/")
    if signs[-1] == "**":
        signs.append("*")
    found = system.get_file_info(selector)
    return [info for info in found if matches(info.path.split("/"), signs)], False


def matches(names: list[str], signs: list[str]) -> bool:
    """Whether the parts of a path are those of a glob, in which ** is any number of folders."""
    if not names or not signs:
        return not names and not signs
    (name, *names_left), (sign, *signs_left) = names, signs
    is_seen = sign.startswith(".") or not name.startswith(".")
    if sign == "**":
        return matches(names, signs_left) or (is_seen and matches(names_left, signs))
    return is_seen and fnmatchcase(name, sign) and matches(names_left, signs_left)


def _may_come(system: fs.FileSystem, path: str) -> bool:
    """Whether files may come to where there are none: a glob, or a prefix in a bucket that exists."""
    if _GLOB.search(path):
        return True
    bucket = path.partition("/")[0]
    return (
        system.type_name in OBJECT_STORES
        and system.get_file_info(bucket).type == fs.FileType.Directory
    )


def _kind(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes if suffix.lower() not in PACKED]
    suffix = suffixes[-1] if suffixes else ""
    return {".ndjson": "jsonl", ".pq": "parquet", ".tsv": "csv", ".tab": "csv"}.get(
        suffix, suffix.removeprefix(".")
    )


def is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def _listing(kinds: tuple[str, ...]) -> str:
    return " or ".join(
        filter(None, [", ".join(f".{kind}" for kind in kinds[:-1]), *(f".{k}" for k in kinds[-1:])])
    )


def _is_stale(path: Path) -> bool:
    """Whether the process is gone that wrote a temporary file, as `Folder.write` names them."""
    host, _, process = path.name.removesuffix(".tmp").rpartition(".")[2].rpartition("-")
    if host == HOST_NAME and process.isdecimal():
        return int(process) != os.getpid() and not _is_alive(int(process))
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > STALE
    return False


def _is_alive(process: int) -> bool:
    """Whether a process runs; one that was killed and that nobody has waited for yet does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with suppress(OSError):  # where there is no such list of processes
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return True


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Where to write a local file that takes its place after the block, as a whole, or not at all.

    Args:
        path: its place; the folder must exist.
        durable: wait until it is on the disk.
    """
    temporary = path.with_name(f".{path.name}.{HOST_NAME}-{os.getpid()}.tmp")
    with at_end(partial(temporary.unlink, missing_ok=True)):
        yield temporary
        if durable:
            to_disk(temporary)
        temporary.replace(path)
        if durable:
            to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def blocks(file: pa.NativeFile) -> Iterator[bytes]:
    """The content of a stream, a block at a time."""
    while block := file.read(BLOCK):
        yield block
