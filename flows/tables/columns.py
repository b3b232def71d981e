"""Which columns of a file are read, found by their names; the folders of its path may be such columns as well."""

import re
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import pyarrow as pa

from flows.errors import InputError
from flows.store.storage import File

Fields = tuple[str, ...]
_FOLDER = re.compile(r"([A-Za-z_]\w*)=(.*)")  # as Hive, Spark and Arrow partition
_USUAL = ("text", "label")  # names of columns where none are given
_MISSING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read; None for what is not wanted.

    `id` is wanted by default where the file has a column of that name, unless it holds bytes or nested values.
    """

    text: str = "text"
    label: str | None = None
    group: str | None = None
    id: str | None = None

    @property
    def wanted(self) -> dict[str, str]:
        """Which column is to hold which field: {field: column}; of several labels these are label, label1 and so on."""
        own = {field: name for field, name in vars(self).items() if name is not None}
        return own | dict(zip(label_fields(self.label), label_columns(self.label), strict=True))

    def select(self, names: list[str], file: File) -> dict[str, str]:
        """Which of the columns `names` of a file holds which field: {field: column}.

        Raises:
            InputError: a column that is wanted is not among them.
        """
        fields = {
            field: require_column(f"--{field.rstrip('0123456789')}-column", name, names, file)
            for field, name in self.wanted.items()
        }
        return ({"id": "id"} if names.count("id") == 1 else {}) | fields


def label_columns(names: str | None) -> list[str]:
    """The columns of labels, of which several are parted by commas."""
    return [each.strip() for each in names.split(",")] if names else []


def label_fields(names: str | None) -> Fields:
    """The fields that these columns hold: label, label1 and so on."""
    return tuple("label" + str(place or "") for place in range(len(label_columns(names))))


class Selection(Protocol):
    """What a reader needs to know of the columns that are wanted."""

    def select(self, names: list[str], file: File) -> dict[str, str]:
        """Which of the columns `names` of a file holds which field: {field: column}."""


def require_column(argument: str, name: str, names: list[str], file: File) -> str:
    """The column `name` as a file has it that has the columns `names`: the spaces around it and its case may differ.

    Raises:
        InputError: there is none, or there are several.
    """
    same = [each for each in names if each == name]
    plain = name.strip().casefold()
    found = same or [each for each in names if each.strip().casefold() == plain]
    if not found and name.isdecimal() and f"c{name}" in names:
        found = [f"c{name}"]  # of a file without a header
    if len(found) == 1:
        return found[0]
    shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
    if found:
        raise InputError(
            f"{argument} must name one column of {file}, which has {shown}: {len(found)} of them are {name!r}; "
            "rename all but one"
        )
    usual = ", which is the name where none is given" if name in _USUAL else ""
    raise InputError(
        f"{argument} must name a column of {file}, which has {shown}; got {name!r}{usual}"
    )


def folder_columns(file: File) -> dict[str, str | None]:
    """The columns that the folders of a file's path stand for, named `column=value`."""
    found = (_FOLDER.fullmatch(part) for part in file.path.split("/")[:-1])
    named = {match[1]: unquote(match[2]) for match in found if match}
    return {name: None if value == _MISSING else value for name, value in named.items()}


class Choice:
    """Which columns of a file are read, and which are those of its folders.

    Attributes:
        fields: {field: column of the file}.
        folders: {field: its value in all rows}.
    """

    def __init__(self, columns: Selection, names: list[str], file: File, only: Fields = ()) -> None:
        folders = {k: value for k, value in folder_columns(file).items() if k not in names}
        chosen = columns.select([*names, *folders], file)
        wanted = {field: name for field, name in chosen.items() if not only or field in only}
        self.fields = {field: name for field, name in wanted.items() if name not in folders}
        self.folders = {f: folders[name] for f, name in wanted.items() if name in folders}

    def complete(self, table: pa.Table, kind: pa.DataType) -> pa.Table:
        """Rows with the columns of the folders, which have that type."""
        for field, value in self.folders.items():
            constant = pa.repeat(pa.scalar(value, pa.string()), len(table)).cast(kind)
            table = table.append_column(field, constant)
        return table
