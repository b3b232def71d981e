"""What the documentation shows is so: commands and options exist, Python runs, links lead somewhere, limits hold."""

import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.main import get_command

from docs import pages
from flows.__main__ import app
from tests.test_golden import FIVE_STEPS

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(
    r"^(?:<!-- docs: (?P<mark>[\w.-]+) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)
MODULES = [
    *("nn.layers", "nn.acceleration", "text.vocabulary", "text.word_counts", "scoring.scorers"),
    *("models.language", "training.streams"),
    *(f"series.{name}" for name in ("calendar", "grid", "order", "scaling", "splits", "windows")),
]
# Python that needs a GPU, a trained run or a package that is not installed: compiled only.
UNRUN = {"gpu", "szeged", "onnx"}


def blocks(kind: str, pages: list[Path] = PAGES) -> Iterator[Any]:
    for page in pages:
        for number, found in enumerate(BLOCK.finditer(page.read_text())):
            if found["kind"] == kind and page.parent.name != "tutorial":
                name = f"{page.relative_to(ROOT)}-{number}"
                yield pytest.param(found["body"], found["mark"], id=name)


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 8192
    assert text.count(b"\n") <= 150


def commands_of(block: str) -> Iterator[list[str]]:
    """The commands of a shell block: comments gone, continued lines joined, at `&&` apart."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def accepted(words: list[str]) -> None:
    """Fails unless the command line has this command, these options and no argument missing."""
    command: Any = get_command(app)
    rest, path = words[1:], []
    while hasattr(command, "commands"):
        if rest[:1] and rest[0].startswith("--"):
            break
        assert rest, f"{words}: a command is missing"
        assert rest[0] in command.commands, f"{words}: there is no command {rest[0]!r}"
        path.append(rest[0])
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(" ".join(path), list(rest), resilient_parsing=False)
    context.close()


@pytest.mark.parametrize(("body", "mark"), [*blocks("sh"), *blocks("bash")])
def test_commands_and_their_options_exist(body: str, mark: str | None) -> None:
    subprocess.run(["bash", "-n"], input=body, text=True, check=True)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for words in commands_of(body):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["rnnfast"]:
            accepted(words)
        elif words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= targets


@pytest.mark.parametrize(
    "words",
    [
        ["rnnfast", "train"],
        ["rnnfast", "reviews", "--colour", "blue"],
        ["rnnfast", "score", "--input", "a.csv"],
        ["rnnfast", "models", "forget", "tickets"],
    ],
)
def test_a_command_that_does_not_exist_is_noticed(words: list[str]) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011  # AssertionError, or the exceptions of typer's parser
        accepted(words)


@pytest.mark.parametrize(("body", "mark"), [*blocks("python")])
def test_python_runs(body: str, mark: str | None, tmp_path: Path) -> None:
    compile(body, "block", "exec")
    if mark in UNRUN:
        return
    texts = [f"We are learning AI number {number}" for number in range(50)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "reviews.parquet")
    script = PRELUDE + body
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# Names that a page's examples take from the reader's own program.
PRELUDE = """
import torch, rnnfast
from torch import nn
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = rnnfast.LSTM(4, 3)
    def forward(self, x):
        return self.recurrent(x)[0]
self = model = Mine()
x = torch.zeros(5, 2, 4)
"""


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name: str) -> None:
    module = importlib.import_module(f"rnnfast.{name}")
    result = doctest.testmod(module)
    assert result.failed == 0


def test_every_class_of_the_reference_has_an_example() -> None:
    page = (ROOT / "docs/api.md").read_text()
    names = re.findall(r"autoclass:: ([\w.]+)", page)
    assert len(names) > 8
    for name in names:
        module, _, kind = name.rpartition(".")
        assert ">>> " in getattr(importlib.import_module(module), kind).__doc__, name


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the site give the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_pictures_are_light() -> None:
    pictures = [file for file in (ROOT / "docs").rglob("*") if file.suffix in (".png", ".webp")]
    assert pictures
    for file in pictures:
        assert file.stat().st_size < 300_000, file


TUTORIAL = sorted((ROOT / "docs/tutorial").glob("*.md"))
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str, bool]]]:
    """Of each page of the tutorial what it shows, what it printed, and whether these are to be equal."""
    threads = torch.get_num_threads()
    try:
        return {
            page.stem: list(pages.run(page, tmp_path_factory.mktemp(page.stem)))
            for page in TUTORIAL
        }
    finally:
        torch.set_num_threads(threads)


def test_the_tutorial_prints_what_it_shows(printed: dict[str, list[tuple[str, str, bool]]]) -> None:
    blocks = [block for page in printed.values() for block in page]
    assert len(blocks) > 15
    for shown, got, exact in blocks:
        if exact:
            assert got == shown
        else:  # trained on another machine, which rounds in another way
            assert NUMBER.sub("0", got) == NUMBER.sub("0", shown)


def test_what_the_tutorial_concludes_is_so(printed: dict[str, list[tuple[str, str, bool]]]) -> None:
    def figures(page: str) -> dict[str, float]:
        got = next(got for _, got, exact in printed[page] if not exact)
        return {
            line.split()[0].strip(":"): float(NUMBER.findall(line)[0]) for line in got.splitlines()
        }

    accuracy = figures("reviews")
    assert accuracy["rnn"] > 98 > 96 > max(accuracy["mlp"], accuracy["cnn"])
    error = figures("temperatures")
    assert error["gru"] < error["linear"] < error["rnn"] < error["persistence"]


def test_the_tutorial_has_the_numbers_of_the_lecture(
    printed: dict[str, list[tuple[str, str, bool]]],
) -> None:
    cell = "".join(got for _, got, _ in printed["cell"])
    for row in FIVE_STEPS:
        assert " ".join(f"{number:7.4f}" for number in row) in cell
