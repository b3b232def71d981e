"""What the commands share: errors that whoever started the job can put right, and plain tables."""

from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from flows.errors import FlowError
from flows.progress import console


class Commands(TyperGroup):
    """Commands that end with one message and code 2 where whoever started the job can put something right."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            for problem in error.errors():
                name = "-".join(map(str, problem["loc"])).replace("_", "-")
                got = f"--{name}: {problem['msg']}, got {problem['input']!r}"
                _complain(got if name else problem["msg"])
            raise typer.Exit(2) from None
        except (FlowError, OSError) as error:
            _complain(_explained(error))
            raise typer.Exit(2) from None


def _explained(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'writing'}: {error.strerror}"
    return str(error)


def _complain(message: str) -> None:
    console.print(f"[bold red]Error:[/] {escape(message)}", soft_wrap=True, highlight=False)


def pairs(*rows: tuple[str, str]) -> None:
    """Prints names and their values."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, escape(value))
    Console().print(table)


def listing(*heads: str) -> Table:
    """A table with a line for each thing, to be filled and printed; long texts are in the last column."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head != heads[-1])
    return table
