"""What tests ask of every page: that it is well formed, stands alone, and tells in words what it draws."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise


class Page(HTMLParser):
    """A page as its elements, each (tag, attributes, tags around it), and its text outside <style>.

    Fails on an element that is closed out of turn.
    """

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {tag} {names}"
        self.elements.append((tag, dict(attrs), tuple(self._open)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"closed but never opened: {tag}"
        assert self._open.pop() == tag, f"closed out of turn: {tag}"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def words(self) -> str:
        return " ".join(self.text.split())


def assert_stands_alone(page: Page) -> None:
    """Nothing is loaded and nothing runs, references meet one id each, and headings never skip a level."""
    assert not page.all("script")
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r"url\(#([^)]*)\)", page.source))
    for tag, attributes, _ in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "xlink:href", "action", "data", "srcset"}:
                assert (value or "").startswith(("#", "data:,")), (tag, name, value)
        referred |= {attributes[key] for key in ("aria-labelledby",) if key in attributes}
        if (attributes.get("href") or "").startswith("#"):
            referred.add((attributes["href"] or "")[1:])
    assert not re.search(r"url\((?!#)|@import|https?:", page.source)
    assert referred <= set(ids)
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    assert {"main", "header", "nav", "footer"} <= {tag for tag, _, _ in page.elements}
    assert page.all("html")[0]["lang"] == "en"


def assert_figures_are_told(page: Page, count: int) -> None:
    """There are so many plots, each with words for those who do not see it, a caption, and its numbers in a table."""
    figures = re.findall(r"<figure>.*?</figure>", page.source, re.DOTALL)
    assert len(figures) == len(page.all("svg")) == count
    for figure in figures:
        inner = Page(figure)
        assert all(inner.all(tag) for tag in ("figcaption", "details", "table", "caption"))
        (svg,) = inner.all("svg")
        assert svg["role"] == "img"
        assert len(svg["aria-label"] or "") > 40
        assert "  " not in (svg["aria-label"] or "")
