"""Files that are read as others: a member of a zip, JSON that is no lines, a folder of texts, another encoding.

Each is a file of a file system of its own, so that all that reads files, or parts of them, in any process, needs to
know nothing of it. What it holds is made when it is opened, in a temporary file without a name: memory does not grow
with it, and it can be read from any place.
"""

import codecs
import json
import lzma
import posixpath
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from flows.errors import InputError
from flows.store.storage import BLOCK, File, blocks
from flows.tables.json_rows import json_rows

_BROKEN = (
    "rnnfast.broken"  # an error handler: what cannot be decoded spoils its row, and no other one
)
codecs.register_error(_BROKEN, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]

# What zipfile says of an archive that is cut off, lies about its parts, or is packed as nobody can read.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)

Write = Callable[[IO[bytes]], None]


@dataclass(frozen=True)
class _Made(fs.FileSystemHandler):  # type: ignore[misc]  # Arrow has no types
    """The file system of one file, which `write` makes."""

    path: str
    size: int
    modified: int
    kind: str
    write: Write

    def get_type_name(self) -> str:
        return self.kind

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> fs.FileInfo:
        if path != self.path:
            return fs.FileInfo(path, fs.FileType.NotFound)
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.modified // 1000)
        return fs.FileInfo(path, fs.FileType.File, size=self.size, mtime=at)

    def open_input_file(self, path: str) -> pa.NativeFile:
        made = tempfile.TemporaryFile()  # noqa: SIM115, Arrow closes it
        try:
            self.write(made)
            made.seek(0)
        except BaseException:
            made.close()
            raise
        return pa.PythonFile(made, mode="r")

    open_input_stream = open_input_file

    def normalize_path(self, path: str) -> str:
        return path

    def _refuse(self, *_: Any) -> Any:
        raise NotImplementedError("it can only be read")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = _refuse
    delete_root_dir_contents = delete_file = move = copy_file = _refuse
    open_output_stream = open_append_stream = _refuse


def _made(file: File, path: str, size: int, write: Write, form: str = "") -> File:
    # To the whole second, in which the file system above counts.
    modified = file.modified // 1000 * 1000
    kind = file.system.type_name.removeprefix("py::")
    handler = _Made(path, size, modified, kind, write)
    return replace(
        file, system=fs.PyFileSystem(handler), path=path, size=size, modified=modified, form=form
    )


def in_utf8(file: File, encoding: str) -> File:
    """A file of text as it would be in UTF-8."""
    if encoding == "utf-8":
        return file
    path = file.path.removesuffix(posixpath.splitext(file.path)[1]) if file.is_packed else file.path
    return _made(file, path, file.size, partial(_decode, file, encoding), file.form)


def _decode(file: File, encoding: str, to: IO[bytes]) -> None:
    decoder = codecs.getincrementaldecoder(encoding)(_BROKEN)
    with file.stream() as stream:
        for block in blocks(stream):
            to.write(decoder.decode(block).encode("utf-8", "surrogatepass"))
    to.write(decoder.decode(b"", True).encode("utf-8", "surrogatepass"))


def json_lines(file: File, encoding: str) -> File:
    """JSON that is one array, or objects one after the other, as a file with an object a line."""
    return _made(file, file.path, file.size, partial(_write_rows, file, encoding), form="jsonl")


def _write_rows(file: File, encoding: str, to: IO[bytes]) -> None:
    with file.stream() as stream:
        decoder = codecs.getincrementaldecoder(encoding)(_BROKEN)
        texts = (decoder.decode(block) for block in blocks(stream))
        for row in json_rows(texts, str(file)):
            to.write(row.encode("utf-8", "surrogatepass") + b"\n")


def zip_members(file: File) -> list[File]:
    """The files in a zip, those left out that systems put there; sorted by name.

    Raises:
        InputError: it is no zip, needs a password, or has two files of one name.
    """
    try:
        with file.random() as source, zipfile.ZipFile(source) as packed:
            members = packed.infolist()
    except (*BROKEN_ZIP, pa.ArrowInvalid) as error:
        raise InputError(f"{file} must be a whole zip file: {error}") from error
    locked = [member.filename for member in members if member.flag_bits & 1]
    if locked:
        raise InputError(f"{file} must be a zip file without a password, {locked[0]!r} has one")
    chosen = [m for m in members if not m.is_dir() and not _is_systems(m.filename)]
    # By its name only the last one of several is to be had.
    twice = [name for name, count in Counter(m.filename for m in chosen).items() if count > 1]
    if twice:
        raise InputError(
            f"{file} must be a zip file of different names, {twice[0]!r} is there again"
        )
    return [
        _made(
            file,
            f"{file.path}/{member.filename}",
            member.file_size,
            partial(_unzip, file, member.filename),
        )
        for member in sorted(chosen, key=lambda member: member.filename)
    ]


def _is_systems(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX", "_")) for part in name.split("/"))


def _unzip(file: File, member: str, to: IO[bytes]) -> None:
    try:
        with (
            file.random() as source,
            zipfile.ZipFile(source) as packed,
            packed.open(member) as content,
        ):
            shutil.copyfileobj(content, to, BLOCK)
    except BROKEN_ZIP as error:
        raise InputError(f"{file} must be a whole zip file, {member!r}: {error}") from error


def unpacked_xz(file: File) -> File:
    """A file that is packed as xz, which Arrow does not know, without that."""
    return _made(file, file.path[: -len(".xz")], file.size, partial(_unpack_xz, file))


def _unpack_xz(file: File, to: IO[bytes]) -> None:
    try:
        with file.random() as source, lzma.open(source) as content:
            shutil.copyfileobj(content, to, BLOCK)
    except (lzma.LZMAError, EOFError) as error:
        raise InputError(f"{file} must be a whole xz file: {error}") from error


def text_folder(files: list[File], folder: str) -> File:
    """Texts, each a file in the folder of its class, as a file with an object a line: id, text and label.

    Args:
        files: the texts, at least one.
        folder: the one that all are in.
    """
    first = files[0]
    return _made(
        replace(first, modified=max(file.modified for file in files)),
        f"{folder.rstrip('/')}/texts.jsonl",
        sum(file.size for file in files),
        partial(_write_texts, tuple(file.below(folder) for file in files)),
    )


def _write_texts(files: tuple[File, ...], to: IO[bytes]) -> None:
    for file in files:
        with file.stream() as stream:
            text = stream.read().decode(file.options.encoding or "utf-8-sig", _BROKEN)
        row = {"id": file.place, "text": text, "label": file.path.split("/")[-2]}
        to.write(json.dumps(row).encode() + b"\n")
