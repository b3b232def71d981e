import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.datasets import imdb
from flows.errors import ArchiveError
from flows.steps.prepare.duplicates import in_both, text_digests

Member = tuple[str, bytes] | tarfile.TarInfo
Pack = Callable[[Path, list[Member]], Path]

URLS = b"http://www.imdb.com/title/tt0000001/usercomments\nhttp://www.imdb.com/title/tt0000002/x\n"


def reviews() -> list[Member]:
    return [
        (f"aclImdb/{part}/{label}/{i}_{star}.txt", f"{part} {label} {i}<br />é".encode())
        for part in ("train", "test")
        for label, star in (("pos", 9), ("neg", 2))
        for i in (1, 0)
    ]


def urls() -> list[Member]:
    return [
        (f"aclImdb/{part}/urls_{label}.txt", URLS)
        for part in ("train", "test")
        for label in ("neg", "pos")
    ]


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def test_reads_reviews_labels_and_movies(pack: Pack, tmp_path: Path) -> None:
    unlabelled: list[Member] = [
        ("aclImdb/train/unsup/0_0.txt", b"?"),
        ("aclImdb/train/urls_unsup.txt", URLS),
    ]
    # The urls come after the reviews that they belong to, as in the real archive.
    splits = imdb.read(pack(tmp_path / "a.tar.gz", [*reviews(), *unlabelled, *urls()]))
    assert splits.labels == ("negative", "positive")
    assert splits.train.to_pylist() == [
        {"id": f"train/{label}/{i}_{star}", "text": f"train {label} {i}<br />é", "label": y,
         "group": f"tt000000{i + 1}"}
        for label, star, y in (("neg", 2, 0), ("pos", 9, 1))
        for i in (0, 1)
    ]  # fmt: skip
    assert splits.test is not None
    assert splits.test.num_rows == 4


def test_order_in_the_archive_does_not_matter(pack: Pack, tmp_path: Path) -> None:
    one = imdb.read(pack(tmp_path / "a.tar.gz", [*reviews(), *urls()]))
    other = imdb.read(pack(tmp_path / "b.tar.gz", [*urls(), *reversed(reviews())]))
    assert one.train.equals(other.train)
    assert one.test.equals(other.test)


def test_a_review_without_an_address_has_no_movie(pack: Pack, tmp_path: Path) -> None:
    splits = imdb.read(pack(tmp_path / "a.tar.gz", reviews()))
    assert splits.train["group"].null_count == 4


@pytest.mark.parametrize(
    "member",
    [
        ("../evil.txt", b"x"),
        ("aclImdb/train/../../evil.txt", b"x"),
        ("/etc/evil.txt", b"x"),
        link("aclImdb/link", tarfile.SYMTYPE),
        link("aclImdb/train/pos/9_9.txt", tarfile.LNKTYPE),
        link("aclImdb/pipe", tarfile.FIFOTYPE),
    ],
)
def test_refuses_members_that_are_unsafe(pack: Pack, tmp_path: Path, member: Member) -> None:
    path = pack(tmp_path / "a.tar.gz", [*reviews(), member])
    name = member.name if isinstance(member, tarfile.TarInfo) else member[0]
    with pytest.raises(ArchiveError) as error:
        imdb.read(path)
    assert repr(name) in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_a_text_that_is_not_utf8(pack: Pack, tmp_path: Path) -> None:
    bad: Member = ("aclImdb/train/neg/7_1.txt", b"caf\xe9")
    path = pack(tmp_path / "a.tar.gz", [*reviews(), bad])
    with pytest.raises(ArchiveError, match=r"aclImdb/train/neg/7_1\.txt.*UTF-8"):
        imdb.read(path)


@pytest.mark.parametrize("keep", [0, 10, 100, 200])
def test_refuses_a_broken_archive(pack: Pack, tmp_path: Path, keep: int) -> None:
    path = pack(tmp_path / "a.tar.gz", [*reviews(), *urls()])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArchiveError, match=r"a\.tar\.gz must"):
        imdb.read(path)


def test_refuses_an_archive_without_one_label(pack: Pack, tmp_path: Path) -> None:
    only = [member for member in reviews() if "test/neg" not in str(member)]
    with pytest.raises(ArchiveError, match=r"test/neg/0_3\.txt.*found 2 reviews of 1 label"):
        imdb.read(pack(tmp_path / "a.tar.gz", only))


def test_the_real_archive(mirror: Path) -> None:
    splits = imdb.read(mirror / "aclImdb_v1.tar.gz")
    assert splits.test is not None
    for table in (splits.train, splits.test):
        assert table.num_rows == 25_000
        assert sum(table["label"].to_pylist()) == 12_500
        assert table["group"].null_count == 0
    digests = [text_digests(table["text"]) for table in (splits.train, splits.test)]
    assert in_both(digests[0].copy(), digests[1]).sum() == 123
    movies = [set(table["group"].to_pylist()) for table in (splits.train, splits.test)]
    assert len(movies[0] & movies[1]) < 5
