"""JSON in local files."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from flows.errors import InputError

Parsed = TypeVar("Parsed")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON for people to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What is in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def parsed(kind: TypeAdapter[Parsed], content: bytes, rule: str) -> Parsed:
    """What JSON holds of a kind, each field of its type.

    Raises:
        InputError: it is no JSON, or does not fit; the message begins with the `rule`.
    """
    try:
        return kind.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{rule}, {place + ': ' if place else ''}{first['msg']}") from error
