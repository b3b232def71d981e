"""rnnfast compare."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.errors import InputError


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folder of a run.")],
    output: Annotated[
        Path | None, typer.Option(help="HTML file to write, with the curves of the training.")
    ] = None,
) -> None:
    """Set runs side by side: where they differ, what they reached, what that took."""
    from rnnfast.reports.comparison import compare as side_by_side
    from rnnfast.reports.comparison import write_comparison

    try:
        comparison = side_by_side(runs)
    except ValueError as error:
        raise InputError(str(error)) from error
    shown = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", *(run.name for run in comparison.runs)):
        shown.add_column(escape(name), overflow="fold")
    for row in comparison.parameters:
        shown.add_row(*map(escape, (row.name, *row.shown)))
    shown.add_section()
    for row in comparison.figures:
        values = [
            f"[bold]{escape(value)} *[/]" if place == row.best else escape(value)
            for place, value in enumerate(row.shown)
        ]
        shown.add_row(row.name, *values)
    Console().print(shown)
    typer.echo("* the best")
    if not comparison.same_rows:
        typer.echo("The runs were measured on different test rows.")
    if output is not None:
        write_comparison(output, comparison)
        typer.echo(f"Page: {output}")
