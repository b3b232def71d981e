"""rnnfast inspect."""

import json
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows.cli.options import MissingMarks, ReadingOptions, TimeColumn, TimeFormat
from flows.cli.panels import of_data, of_run, takes
from flows.cli.settings import reading_of
from flows.cli.terminal import listing
from flows.wording import counted, size

if TYPE_CHECKING:
    from flows.steps.inspect.columns import Column
    from flows.steps.inspect.files import Inspection

WIDTH = 200  # characters of a line that goes to a file or a pipe


@dataclass(frozen=True, kw_only=True)
class InspectOptions(ReadingOptions):
    """The argument and the options of the command."""

    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A file, glob or folder, which may be at s3://."),
    ]
    rows: Annotated[
        int, of_data(min=1, metavar="N", help="Number of first rows that are looked at.")
    ] = 5000
    time_column: TimeColumn = None
    time_format: TimeFormat = None
    missing: MissingMarks = None
    as_json: Annotated[bool, of_run("--json", help="Print it as JSON.")] = False


@takes(InspectOptions)
def inspect(options: InspectOptions) -> None:
    """Show what a training would read of files, what is odd, and the command to run next."""
    from flows.steps.inspect.files import inspect as look

    found = look(
        options.file,
        options.rows,
        reading_of(options),
        options.time_column,
        options.time_format,
    )
    if options.as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=1))
        return
    _show(found)


def _show(found: "Inspection") -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    part = "all" if found.is_all else "the first"
    typer.echo(
        f"{counted(found.files, 'file')}, {size(found.size)}: {found.shape}; "
        f"looked at {part} {counted(found.rows, 'row')}"
    )
    table = listing("column", "kind", "missing", "distinct", "from", "to", "values")
    for each in found.columns:
        cells = (
            each.name,
            each.kind,
            f"{each.missing:,}",
            f"{each.distinct:,}",
            each.low,
            each.high,
            _values(each),
        )
        table.add_row(*map(escape, cells))
    console.print(table)
    head = listing(*(escape(each.name) for each in found.columns))
    for row in found.head:
        head.add_row(*map(escape, row))
    console.print(head)
    if times := found.times:
        series = counted(times.series, "series", "series")
        by = f" by {times.devices!r}" if times.devices else ""
        typer.echo(
            f"Time: {times.column!r} ({times.form}), step: {times.step_name}, {counted(times.gaps, 'gap')}, "
            f"{series}{by}"
        )
        typer.echo(f"Numbers: {', '.join(map(repr, times.features))}")
    for sentence in found.odd:
        typer.echo(f"Odd: {sentence}")
    if found.command:
        typer.echo(f"Next: {shlex.join(found.command)}")
    else:
        typer.echo(
            "Next: nothing fits; a training takes a text with a label, or time stamps with numbers: "
            f"{found.no_times}"
        )


def _values(column: "Column") -> str:
    if column.labels:
        return ", ".join(f"{label} ({count:,})" for label, count in list(column.labels.items())[:5])
    return ", ".join(column.examples)
