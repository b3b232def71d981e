"""What `rnnfast serve` shows to a browser: an overview, the runs and the reports of scores, and nothing beside."""

import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.orchestration.overview import key_figure, overview
from flows.orchestration.showing import place
from flows.orchestration.web import shown
from flows.store.registry import Model
from tests.pages import Page, assert_stands_alone


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
    assert [link["href"] for link in page.all("a")] == ["#main", "/", *links]
    assert ("There is nothing to show in this folder." in text) == (not links)
    assert "SECRET" not in text


def test_a_name_that_is_not_utf_8(root: Path, port: int) -> None:
    Path(os.fsdecode(os.fsencode(root / "runs/a b") + b"/caf\xe9.txt")).write_text("there")
    assert 'href="caf%E9.txt"' in ask(port, "/runs/a%20b/")[1]
    assert ask(port, "/runs/a%20b/caf%E9.txt") == (200, "there")


def test_who_asks_for_another_host_gets_nothing(port: int) -> None:
    """A page of elsewhere may have its own name lead to this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, b"this machine" in answer.read()) == (403, True)
    connection.close()


def test_the_overview_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    page = Page(overview(tmp_path).decode())
    assert_stands_alone(page)
    for sentence in (
        "No model is registered yet.",
        "No run has finished yet.",
        "No scores yet.",
    ):
        assert sentence in page.words()
    assert not page.all("table")


def test_the_overview_names_models_runs_and_scores(
    root: Path, port: int, finished: Callable[..., Path]
) -> None:
    for name in ("first", "second"):
        run = finished(name, 8)
        (run / "report.html").write_text("report")
        run.rename(root / "runs" / name)
    os.utime(root / "runs/first/report.html", (1.7e9, 1.7e9))
    model = Model(root / "models/tickets")
    record = {"digest": "1", "metrics": {"accuracy": 0.8}}
    model.promote(model.add(root / "runs/first", record, leave_out="parts"), "the first")
    Model(root / "models/idle").add(root / "runs/first", record, leave_out="parts")
    status, text = ask(port, "/")
    page = Page(text)
    assert status == 200
    assert "SECRET" not in text
    for words in (
        "tickets 1 ",
        "80.0% correct the first",
        "none; rnnfast models promote idle VERSION puts one into production",
        "first 2023-11-14 22:13 UTC unknown n-grams 80.0% correct",
        "a b ",  # whose figures nobody can read
    ):
        assert words in page.words()
    links = [str(link["href"]) for link in page.all("a")]
    reports = [link for link in links if link.endswith("report.html")]
    assert reports[-3:] == [
        "runs/first/report.html",
        "scores/reviews/report.html",
        "scores/team/pumps/report.html",
    ]
    for link in links:
        if not link.startswith("#"):
            assert ask(port, f"/{link}")[0] == 200


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"accuracy": 0.8834}, "88.3% correct"),
        ({"mse": 0.4567891, "skill": 0.25}, "mean squared error 0.4568, skill 25.0%"),
        ({"mse": 2}, "mean squared error 2"),
        ({}, "unknown"),
    ],
)
def test_a_key_figure_in_words(test: dict[str, float], words: str) -> None:
    assert key_figure(test) == words


def test_the_overview_has_the_newest_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.orchestration.overview.RUNS_SHOWN", 2)
    for number in range(3):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.5}}))
        (folder / "report.html").touch()
        os.utime(folder / "report.html", (number, number))
    page = Page(overview(tmp_path).decode())
    links = [str(link["href"]) for link in page.all("a")]
    assert [link for link in links if "report" in link] == [
        "runs/2/report.html",
        "runs/1/report.html",
    ]
    assert "1 older run is not listed here." in page.words()


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
