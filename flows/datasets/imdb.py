"""IMDB: 50,000 movie reviews, half of them for testing (Maas et al., ACL 2011).

The members are read straight from the stream of the archive into Arrow: no file is unpacked. Left
out on purpose: the 50,000 unlabelled reviews, the word list, and the stars (1 to 10) behind labels.
"""

import gzip
import re
import tarfile
import zlib
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from flows.datasets.base import SCHEMA, Archive, Dataset, Splits
from flows.errors import ArchiveError
from flows.progress import bar

BUFFER = 1 << 18  # bytes read at a time; a multiple of tar's blocks of 512
LARGEST = (
    16 << 20
)  # bytes of a member that is read, which are some 100 times as many as the largest one has
LABELS = ("negative", "positive")
_REVIEW = re.compile(r"aclImdb/((train|test)/(neg|pos)/(\d+)_\d+)\.txt")
_URLS = re.compile(r"aclImdb/(train|test)/urls_(neg|pos)\.txt")
_MOVIE = re.compile(rb"/(tt\d+)/")


def _refuse_unsafe(member: tarfile.TarInfo, archive: Path) -> None:
    """Raises ArchiveError unless the member is a plain file or folder inside the archive, of a size to be read."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        problem = "points outside the archive"
    elif not (member.isreg() or member.isdir()):
        problem = "is a link or a device"
    elif member.size > LARGEST and (_REVIEW.fullmatch(member.name) or _URLS.fullmatch(member.name)):
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
                if match := _REVIEW.fullmatch(member.name):
                    name, part, label, index = match.groups()
                    text = members.extractfile(member).read()  # type: ignore[union-attr]
                    reviews[part].append((name, text, int(label == "pos"), int(index)))
                elif match := _URLS.fullmatch(member.name):
                    part, label = match.groups()
                    lines = members.extractfile(member).read().split(b"\n")  # type: ignore[union-attr]
                    movies[part, int(label == "pos")] = lines
                # tarfile keeps every header it has seen; a stream has no use for them.
                members.members = []  # type: ignore[attr-defined]
                if number % 1000 == 0:
                    advance(file.tell() - position)
                    position = file.tell()
            while tar.read(BUFFER):
                pass  # to the checksum at the end
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ArchiveError(f"{archive} must be a whole .tar.gz archive: {error}") from error
    tables = {part: _table(archive, part, rows, movies) for part, rows in reviews.items()}
    return Splits(tables["train"], tables["test"], LABELS)


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
        raise ArchiveError(f"{archive}: {_first_not_utf8(rows)!r} must be UTF-8 text") from None
    ids = pa.array([name for name, _, _, _ in rows])
    return pa.table([ids, texts, labels, pa.array(groups, pa.string())], schema=SCHEMA)


def _first_not_utf8(rows: list[tuple[str, bytes, int, int]]) -> str:
    for name, text, _, _ in rows:
        try:
            text.decode()
        except UnicodeDecodeError:
            return f"aclImdb/{name}.txt"
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
)
