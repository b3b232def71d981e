"""rnnfast clean."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows.cli import options
from flows.cli.terminal import listing
from flows.wording import size


def clean(
    registry: options.RegistryFolder = Path("models"),
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    keep: Annotated[
        int, typer.Option(min=1, metavar="N", help="Runs, and versions of each model, to keep.")
    ] = 10,
    days: Annotated[
        float, typer.Option(min=0, metavar="N", help="Age of what dead jobs left to go on with.")
    ] = 7,
    dry_run: options.DryRun = False,
) -> None:
    """Remove old runs and versions, and what dead jobs left; never what is in production or a way back to."""
    from flows import cache_folder
    from flows.steps.score.clean import removable, remove, summed_up

    found = removable(registry, runs, cache_folder(), keep, days)
    table = listing("size", "what", "path")
    for each in found:
        table.add_row(size(each.bytes), each.what, escape(str(each.path)))
    Console().print(table)
    gone = found if dry_run else [each for each in found if remove(each)]
    typer.echo(summed_up(gone, dry_run))
