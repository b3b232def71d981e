"""The objects of a JSON text one after the other, with no more of it in memory than the longest one needs.

They are those of an array, be it the whole (`[{...}, {...}]`) or a field of the whole (`{"data": [{...}]}`), or they
follow each other with or without line breaks.
"""

import json
from collections.abc import Iterable, Iterator

from flows.errors import InputError

_SPACE = " \t\r\n\ufeff"
_DECODER = json.JSONDecoder()


class _Text:
    """A text that comes in parts, and where in it one is."""

    def __init__(self, parts: Iterable[str], name: str) -> None:
        self.parts, self.name = iter(parts), name
        self.text, self.at, self.before = "", 0, 0

    def more(self) -> bool:
        """Takes more of the text, at least as much again as waits; whether there was any."""
        left = self.text[self.at :]
        taken: list[str] = []
        size = 0
        for part in self.parts:
            taken.append(part)
            size += len(part)
            if size > len(left):
                break
        self.before += self.at
        self.text, self.at = "".join([left, *taken]), 0
        return size > 0

    def peek(self) -> str:
        """The next sign that is no space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def value(self) -> tuple[object, str]:
        """The next value, and how it is written, in one line."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
                # A number may go on.
                if end < len(self.text) or not self.more():
                    written = self.text[self.at : end]
                    self.at = end
                    return value, written.replace("\r", " ").replace("\n", " ")
            except RecursionError:
                raise InputError(f"{self.name}: a value is nested too deeply") from None
            except ValueError as error:
                if not self.more():
                    raise self.error(str(error)) from None

    def error(self, reason: str) -> InputError:
        return InputError(
            f"{self.name} must be JSON: an array of objects, or objects one after the other; "
            f"after {self.before + self.at:,} characters: {reason}"
        )


def json_rows(parts: Iterable[str], name: str) -> Iterator[str]:
    """The rows, each as JSON in one line.

    Args:
        parts: the text.
        name: what errors call it.

    Raises:
        InputError: it is not JSON, or holds no rows.
    """
    text = _Text(parts, name)
    first = text.peek()
    if first == "[":
        yield from _elements(text)
        if text.peek():
            raise text.error("something follows the array")
    elif first == "{":
        yield from _objects(text)
    elif first:
        raise text.error(f"found {first!r}")


def _elements(text: _Text) -> Iterator[str]:
    """Those of the array that begins here."""
    text.at += 1
    if text.peek() == "]":
        text.at += 1
        return
    while True:
        yield text.value()[1]
        sign = text.peek()
        if sign not in (",", "]"):
            raise text.error("expected , or ] after a value" if sign else "the array is not closed")
        text.at += 1
        if sign == "]":
            return


def _objects(text: _Text) -> Iterator[str]:
    """Objects one after the other; of a single one with an array of objects these."""
    if _is_wrapper(text):
        text.at += 1
        while text.peek() not in ("}", ""):
            text.value()
            if text.peek() != ":":
                raise text.error("expected : after a name")
            text.at += 1
            if text.peek() == "[":
                yield from _elements(text)
            else:
                text.value()
            if text.peek() == ",":
                text.at += 1
        if not text.peek():
            raise text.error("the object is not closed")
        return
    while text.peek():
        value, written = text.value()
        if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
            raise text.error(
                "it holds columns, not rows (as pandas writes them unless it is told orient='records')"
            )
        yield written


def _is_wrapper(text: _Text) -> bool:
    """Whether the first object has one array of objects, and other fields that are none, and nothing follows it.

    Of a large one its first part has to do: it is one where an array of objects begins before its first object ends.
    """
    head = text.text[text.at :]
    try:
        value, end = _DECODER.raw_decode(head)
    except (ValueError, RecursionError):
        return _opens_array(head)
    return wraps_rows(value) and not head[end:].strip()


def wraps_rows(value: dict[str, object]) -> bool:
    """Whether an object is no row, but holds an array of all rows."""
    lists = [v for v in value.values() if isinstance(v, list)]
    rows = [v for v in lists if v and all(isinstance(each, dict) for each in v)]
    is_row = "text" in {key.strip().lower() for key in value}
    return len(rows) == 1 == len(lists) and not is_row


def _opens_array(head: str) -> bool:
    at = 1
    while True:
        try:
            while head[at] in _SPACE + ",":
                at += 1
            _, at = _DECODER.raw_decode(head, at)
            while head[at] in _SPACE + ":":
                at += 1
            if head[at] == "[":
                return head[at + 1 :].lstrip()[:1] == "{"
            _, at = _DECODER.raw_decode(head, at)
        except (ValueError, IndexError, RecursionError):
            return False
