"""What `python -m flows serve` shows to a browser: the runs and the reports of scores, and nothing beside."""

import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.orchestration.showing import place, shown
from tests.pages import Page


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder as serving has it, with a secret wherever one might look for it."""
    root = tmp_path / "served"
    for name in (
        "runs/a b/report.html",
        "runs/a b/metrics.json",
        "scores/reviews/report.html",
        "scores/team/pumps/report.html",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"page {name}")
    for name in (
        "secret",
        "report.html",
        "index.html",
        "inbox/secret",
        "models/reviews/1/report.html",
        "runs-old/report.html",
        "scores/index.html",
        "scores/reviews/a.parquet",
        "scores/reviews/index.html",
        "scores/reviews/rejected/a.jsonl",
        "scores/reviews/.hidden/a",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("SECRET")
    (tmp_path / "secret").write_text("SECRET")
    (root / "scores/linked").mkdir()
    (root / "scores/linked/report.html").symlink_to(root / "scores/reviews/a.parquet")
    (root / "scores/away").symlink_to(root / "inbox")
    (root / "runs/away").symlink_to(root / "models")
    (root / "runs/loop").symlink_to(root / "runs/loop")
    (root / "runs/report.html").symlink_to(tmp_path / "secret")
    return root


@pytest.fixture
def port(root: Path) -> Iterator[int]:
    with socket.socket() as test:
        test.bind(("127.0.0.1", 0))
        number = int(test.getsockname()[1])
    with shown(root, number):
        yield number


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """The answer to a path that is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path)
    connection.endheaders()
    answer = connection.getresponse()
    try:
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/runs/a%20b/report.html", "runs/a b/report.html"),
        ("/runs/a%20b/metrics.json?x=1", "runs/a b/metrics.json"),
        ("/scores/reviews/report.html", "scores/reviews/report.html"),
        ("/scores/team/pumps/report.html", "scores/team/pumps/report.html"),
        ("/runs/../scores/reviews/report.html", "scores/reviews/report.html"),
    ],
)
def test_what_may_be_read(port: int, path: str, name: str) -> None:
    assert ask(port, path) == (200, f"page {name}")


@pytest.mark.parametrize(
    "path",
    [
        "/secret",
        "/report.html",
        "/index.html",
        "/inbox/",
        "/inbox/secret",
        "/models/reviews/1/report.html",
        "/runs-old/report.html",
        "/runs/../secret",
        "/runs/..%2fsecret",
        "/runs/%2e%2e/secret",
        "/runs/%2e%2e/%2e%2e/secret",
        "//secret",
        "/../secret",
        "/runs/report.html",
        "/runs/away/",
        "/runs/away/reviews/1/report.html",
        "/scores/index.html",
        "/scores/reviews/a.parquet",
        "/scores/reviews/a.parquet/",
        "/scores/reviews/index.html",
        "/scores/reviews/rejected/a.jsonl",
        "/scores/reviews/.hidden/a",
        "/scores/reviews/report.html/",
        "/scores/linked/report.html",
        "/scores/away/secret",
        "/scores/away/",
        "/scores/reviews/none.html",
        "/%00",
        "/runs/%00",
        "/runs/%ed%a0%80",
        f"/scores/{'a' * 300}",
        "/runs/loop",
    ],
)
def test_what_may_not_be_read(port: int, path: str) -> None:
    for method in ("GET", "HEAD"):
        status, text = ask(port, path, method)
        assert status == 404
        assert "SECRET" not in text


@pytest.mark.parametrize(
    ("path", "links"),
    [
        ("/", ["runs/", "scores/"]),
        ("/runs/", ["a%20b/"]),
        ("/runs/a%20b/", ["metrics.json", "report.html"]),
        ("/scores/", ["reviews/", "team/"]),
        ("/scores/team/", ["pumps/"]),
        ("/scores/reviews/", ["report.html"]),
        ("/scores/reviews/rejected/", []),
    ],
)
def test_lists_name_what_may_be_read(port: int, path: str, links: list[str]) -> None:
    status, text = ask(port, path)
    page = Page(text)
    assert status == 200
    assert [link["href"] for link in page.all("a")] == links
    assert "SECRET" not in text


def test_a_folder_without_a_slash_is_one_with_it(port: int) -> None:
    assert ask(port, "/scores/reviews")[0] == 301


def test_it_listens_at_one_address_alone(port: int) -> None:
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_where_a_file_is_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert place(root / "runs/a b/metrics.json") == "runs/a%20b/metrics.json"
    assert place(root / "scores/reviews/report.html") == "scores/reviews/report.html"
    assert place(root / "scores/reviews/a.parquet") is None
    assert place(root / "report.html") is None
    assert place(root.parent / "secret") is None
    assert place(Path(os.sep, "etc")) is None
