"""IMDB: 50,000 movie reviews, half of them for testing (Maas et al., ACL 2011).

The members are read straight from the stream of the archive into Arrow: no file is unpacked. The
50,000 unlabelled reviews are for language models alone. Left out on purpose: the word list, and the stars
(1 to 10) behind labels.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.base import SCHEMA, TEXT_BATCH, Archive, Dataset, Splits
from flows.errors import ArchiveError
from flows.progress import bar

BUFFER = 1 << 18  # bytes read at a time; a multiple of tar's blocks of 512
LARGEST = (
    16 << 20
)  # bytes of a member that is read, which are some 100 times as many as the largest one has
LABELS = ("negative", "positive")
_REVIEW = re.compile(r"aclImdb/((train|test)/(neg|pos)/(\d+)_\d+)\.txt")
_URLS = re.compile(r"aclImdb/(train|test)/urls_(neg|pos)\.txt")
_TEXT = re.compile(r"aclImdb/train/(neg|pos|unsup)/\d+_\d+\.txt")
_LABELLED = re.compile(f"{_REVIEW.pattern}|{_URLS.pattern}")
_MOVIE = re.compile(rb"/(tt\d+)/")


def _refuse_unsafe(member: tarfile.TarInfo, archive: Path) -> None:
    """Raises ArchiveError unless the member is a plain file or folder inside the archive, of a size to be read."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        problem = "points outside the archive"
    elif not (member.isreg() or member.isdir()):
        problem = "is a link or a device"
    elif member.size > LARGEST and (
        _LABELLED.fullmatch(member.name) or _TEXT.fullmatch(member.name)
    ):
        problem = f"has {member.size:,} bytes, more than {LARGEST:,}"
    else:
        return
    raise ArchiveError(
        f"{archive}: members must be plain files inside the archive, {member.name!r} {problem}"
    )


def read(archive: Path | None) -> Splits:
    """Reads the archive.

    The movie of review i is in line i of the urls file of its folder. Rows come sorted by id, so
    that it does not matter in which order the archive was packed.

    Raises:
        ArchiveError: the archive is broken, has a member that is a link, points outside, is huge or
            is there twice, has a text that is not UTF-8, or lacks reviews of either label in either part.
    """
    assert archive is not None
    reviews: dict[str, list[tuple[str, bytes, int, int]]] = {"train": [], "test": []}
    movies: dict[tuple[str, int], list[bytes]] = {}
    for member, content in _members(archive, _LABELLED):
        if match := _REVIEW.fullmatch(member):
            name, part, label, index = match.groups()
            reviews[part].append((name, content, int(label == "pos"), int(index)))
        elif match := _URLS.fullmatch(member):
            part, label = match.groups()
            movies[part, int(label == "pos")] = content.split(b"\n")
    tables = {part: _table(archive, part, rows, movies) for part, rows in reviews.items()}
    return Splits(tables["train"], tables["test"], LABELS)


def read_texts(archive: Path | None) -> Iterator[pa.Array]:
    """Reads the 75,000 texts that are not for testing, of which 50,000 have no label; as `read`."""
    assert archive is not None
    waiting = dict[str, bytes]()
    for name, content in _members(archive, _TEXT):
        waiting[name] = content
        if len(waiting) == TEXT_BATCH:
            yield _decoded(archive, waiting)
            waiting.clear()
    if waiting:
        yield _decoded(archive, waiting)


def _decoded(archive: Path, texts: Mapping[str, bytes]) -> pa.Array:
    """Texts by the names of their members."""
    try:
        return pa.array(list(texts.values()), pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        bad = _first_not_utf8(texts.items())
        raise ArchiveError(f"{archive}: {bad!r} must be UTF-8 text") from None


def _members(archive: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the members whose names match, as they come.

    Raises:
        ArchiveError: the archive is broken, or has a member that is a link, points outside, or is huge.
    """
    try:
        # tarfile's own "r|gz" takes a stream that is cut off for one that has ended.
        with (
            archive.open("rb") as file,
            gzip.open(file) as tar,
            tarfile.open(fileobj=tar, mode="r|", bufsize=BUFFER) as members,
            bar("reading reviews", archive.stat().st_size, unit="bytes") as advance,
        ):
            position = 0
            for number, member in enumerate(members):
                _refuse_unsafe(member, archive)
                if wanted.fullmatch(member.name):
                    yield member.name, members.extractfile(member).read()  # type: ignore[union-attr]
                # tarfile keeps every header it has seen; a stream has no use for them.
                members.members = []  # type: ignore[attr-defined]
                if number % 1000 == 0:
                    advance(file.tell() - position)
                    position = file.tell()
            while tar.read(BUFFER):
                pass  # to the checksum at the end
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ArchiveError(f"{archive} must be a whole .tar.gz archive: {error}") from error


def _table(
    archive: Path,
    part: str,
    rows: list[tuple[str, bytes, int, int]],
    movies: dict[tuple[str, int], list[bytes]],
) -> pa.Table:
    rows.sort()
    if twice := next((a[0] for a, b in pairwise(rows) if a[0] == b[0]), None):
        raise ArchiveError(
            f"{archive} must have each review once, 'aclImdb/{twice}.txt' is there twice"
        )
    labels = pa.array([label for _, _, label, _ in rows], pa.int8())
    if len(pc.unique(labels)) != 2:
        raise ArchiveError(
            f"{archive} must hold reviews such as 'aclImdb/{part}/neg/0_3.txt' and "
            f"'aclImdb/{part}/pos/0_9.txt', found {len(rows)} reviews of "
            f"{len(pc.unique(labels))} label(s) in 'aclImdb/{part}'"
        )
    groups = []
    for _, _, label, index in rows:
        lines = movies.get((part, label), [])
        match = _MOVIE.search(lines[index]) if index < len(lines) else None
        groups.append(match[1].decode() if match else None)
    try:
        texts = pa.array([text for _, text, _, _ in rows], pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        bad = _first_not_utf8((f"aclImdb/{name}.txt", text) for name, text, _, _ in rows)
        raise ArchiveError(f"{archive}: {bad!r} must be UTF-8 text") from None
    ids = pa.array([name for name, _, _, _ in rows])
    return pa.table([ids, texts, labels, pa.array(groups, pa.string())], schema=SCHEMA)


def _first_not_utf8(texts: Iterable[tuple[str, bytes]]) -> str:
    for name, text in texts:
        try:
            text.decode()
        except UnicodeDecodeError:
            return name
    raise AssertionError("every text is UTF-8")


DATASET = Dataset(
    name="imdb",
    about="50,000 movie reviews from IMDB, positive or negative, as published",
    archive=Archive(
        name="aclImdb_v1.tar.gz",
        url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    ),
    read=read,
    read_texts=read_texts,
)
