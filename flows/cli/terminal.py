"""What the commands share: errors that whoever started the job can put right, and plain tables."""

import re
from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from flows.errors import FlowError
from flows.progress import console

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from flows.accounts import Account

_OPTIONS = {("Registration", "name"): "--register"}  # those that are not called as their field is


class Commands(TyperGroup):
    """Commands that end with one message and code 2 where whoever started the job can put something right."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            command: Any = self.get_command(ctx, ctx.invoked_subcommand or "")
            options = {name for parameter in command.params for name in parameter.opts}
            for problem in error.errors():
                _complain(_broken(problem, error.title, options))
            raise typer.Exit(2) from None
        except typer.BadParameter as error:
            if type(error) is not typer.BadParameter or error.param is None:
                raise  # typer says it: an option that is missing, say
            name = error.param.opts[0]
            name = name if name.startswith("-") else name.upper()  # as its help has an argument
            _complain(_complaint(name, _rule(error.message)))
            raise typer.Exit(2) from None
        except (FlowError, OSError) as error:
            _complain(_explained(error))
            raise typer.Exit(2) from None


def _broken(problem: "ErrorDetails", settings: str, options: set[str]) -> str:
    """Which option breaks which rule; `settings` are those that have the rule."""
    rule = _rule(problem["msg"])
    if not problem["loc"]:  # a rule of several fields, which begins with the one to change
        field, space, rest = rule.partition(" ")
        named = field.isidentifier() and rest.startswith("must ")
        return f"{_option(settings, field, options)}{space}{rest}" if named else rule
    option = _option(settings, str(problem["loc"][0]), options)
    return f"{_complaint(option, rule)}, got {problem['input']!r}"


def _option(settings: str, field: str, options: set[str]) -> str:
    """What the command line calls a field of some settings."""
    if settings == "Limits":
        return f"--limit {field}"
    option = _OPTIONS.get((settings, field), f"--{field.replace('_', '-')}")
    return option if option in options else f"--set {field}"


def _rule(message: str) -> str:
    """What pydantic or typer says of a value, as the project's own rules say it."""
    return re.sub("^(Input|String) should ", "must ", message.removeprefix("Value error, "))


def _complaint(option: str, rule: str) -> str:
    return f"{option} {rule}" if rule.startswith("must ") else f"{option}: {rule}"


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


def show_account(account: "Account") -> None:
    """Prints what has become of the rows."""
    for line in account.lines():
        typer.echo(line)


def listing(*heads: str) -> Table:
    """A table with a line for each thing, to be filled and printed; long texts are in the last column."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head != heads[-1])
    return table
