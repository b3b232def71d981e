"""What --set takes: the fields of data, model and training, and how a value of each is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from flows.cli.terminal import listing
from flows.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

OPTIONS_ALONE = ("cell", "reading")  # a preset follows from the one, a file is read by the other


@dataclass(frozen=True)
class SetName:
    """A name, as the reference has it."""

    name: str
    default: str
    values: str
    meaning: str


def settings_of(command: str) -> tuple[type["BaseModel"], ...]:
    """The settings of `reviews`, `sensors` or `pretrain`: of data, model and training."""
    from flows.parameters import ReviewsData, SensorsData, TextsData
    from rnnfast.models.config import ModelConfig
    from rnnfast.models.language_config import LanguageConfig
    from rnnfast.models.window_config import WindowConfig
    from rnnfast.training.settings import LoopSettings, TrainingSettings, WindowTraining

    if command == "pretrain":
        return TextsData, LanguageConfig, LoopSettings
    if command == "reviews":
        return ReviewsData, ModelConfig, TrainingSettings
    return SensorsData, WindowConfig, WindowTraining


def set_names(command: str) -> list[SetName]:
    """All names, each as the first of the settings has it."""
    found: dict[str, SetName] = {}
    for kind in settings_of(command):
        schemas = kind.model_json_schema()["properties"]
        for name in _fields(kind):
            found.setdefault(name, _described(name, schemas[name]))
    return list(found.values())


def assigned(settings: list[str] | None, command: str) -> list[dict[str, str]]:
    """What was given by --set, for each of `settings_of`; a name is of the first that has it.

    Raises:
        InputError: what was given is no NAME=VALUE, or there is no such name.
    """
    fields = [_fields(kind) for kind in settings_of(command)]
    values: list[dict[str, str]] = [{} for _ in fields]
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set must be NAME=VALUE, got {setting!r}")
        place = next((i for i, names in enumerate(fields) if name in names), None)
        if place is None:
            known = list(dict.fromkeys(each for names in fields for each in names))
            raise InputError(_unknown(setting, name, known))
        values[place][name] = value
    return values


def complete(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a shell offers after --set."""
    names = (each.name for each in set_names(str(ctx.info_name)))
    return [f"{name}=" for name in names if name.startswith(incomplete)]


def show(ctx: typer.Context, wanted: bool) -> None:
    """Prints all names where that is wanted, and ends the command."""
    if wanted:
        table = listing("name", "default", "values", "meaning")
        for each in set_names(str(ctx.info_name)):
            table.add_row(*map(escape, (each.name, each.default, each.values, each.meaning)))
        Console().print(table)
        raise typer.Exit


def _fields(kind: type["BaseModel"]) -> list[str]:
    return [name for name in kind.model_fields if name not in OPTIONS_ALONE]


def _unknown(setting: str, name: str, known: list[str]) -> str:
    if name in OPTIONS_ALONE:
        return f"--set must not give {name}, which has options of its own, got {setting!r}"
    close = get_close_matches(name, known, 2)
    if close:
        return (
            f"--set must be NAME=VALUE with a NAME that --list-settings shows, got {setting!r}; "
            f"did you mean {' or '.join(close)}?"
        )
    return f"--set must be NAME=VALUE with a NAME of {', '.join(known)}; got {setting!r}"


def _described(name: str, schema: dict[str, Any]) -> SetName:
    return SetName(name, _default(schema.get("default")), _values(schema), schema["description"])


def _default(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(each) for each in value if each != "")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _values(schema: dict[str, Any]) -> str:
    """Which values a field may have."""
    for each in schema.get("anyOf", ()):
        if each["type"] != "null":
            return _values(each)
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] == "array":
        return f"{_values(schema['items'])}, several separated by commas"
    names = {
        "boolean": "true, false",
        "integer": "whole number",
        "number": "number",
        "string": "text",
    }
    return ", ".join([names[schema["type"]], *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    for rule, word in words.items():
        if rule in schema:
            yield f"{word} {schema[rule]:g}"
