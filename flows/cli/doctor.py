"""rnnfast doctor."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.terminal import pairs


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what this machine has, what is missing, and what would make it faster.

    Ends with code 1 where something is missing.
    """
    from flows.steps.inspect.machine import look

    machine = look()
    if as_json:
        typer.echo(json.dumps(asdict(machine), indent=1))
    else:
        pairs(*machine.found.items())
        for sentence in machine.missing:
            typer.echo(f"Missing: {sentence}")
        for sentence in machine.slow:
            typer.echo(f"Slower than it could be: {sentence}")
        if not machine.missing and not machine.slow:
            typer.echo("Nothing is missing.")
    if machine.missing:
        raise typer.Exit(1)
