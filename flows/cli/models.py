"""The commands of the registry: rnnfast models list | show | promote | rollback."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from flows.cli import options
from flows.cli.terminal import listing, pairs
from flows.errors import InputError

if TYPE_CHECKING:
    from flows.store.registry import Model

Name = Annotated[str, typer.Argument(help="Of the model.")]

app = typer.Typer(help="The models of a registry, and which version of each is in production.")


@app.command("list")
def list_models(registry: options.RegistryFolder = Path("models")) -> None:
    """List the versions of all models."""
    from flows.store.registry import models

    table = listing("model", "version", "status", "registered", "test", "why")
    for model in models(registry):
        standing = model.standing()
        for number in model.numbers():
            record = model.record(number)
            table.add_row(
                escape(model.name),
                str(number),
                standing.status(number),
                escape(record.get("registered", "unknown")),
                _figure(record.get("metrics", {})),
                escape(standing.reason(number)),
            )
    Console().print(table)


@app.command()
def show(
    name: Name,
    version: Annotated[
        int | None, typer.Argument(help="By default the one in production, else the last.")
    ] = None,
    registry: options.RegistryFolder = Path("models"),
) -> None:
    """Show the lineage of a version, and when it was in production and why."""
    model = _named(registry, name)
    standing = model.standing()
    number = version or standing.production or model.numbers()[-1]
    record = model.record(number)
    pairs(
        ("version", f"{number} of {model.name}"),
        ("folder", str(model.path(number))),
        ("status", standing.status(number)),
        ("why", standing.reason(number)),
        *((key, _plain(value)) for key, value in record.items()),
    )
    for each in standing.promotions:
        if each.version == number:
            instead = f"instead of version {each.replaced}" if each.replaced else "as the first"
            typer.echo(f"In production from {each.at} {instead}: {each.reason}")


@app.command()
def promote(
    name: Name,
    version: Annotated[int, typer.Argument(help="To put into production.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "by hand",
    registry: options.RegistryFolder = Path("models"),
    dry_run: options.DryRun = False,
) -> None:
    """Put a version into production, whatever its figures are."""
    model = _named(registry, name)
    model.record(version)
    _replace(model, version, reason, back=False, dry_run=dry_run)


@app.command()
def rollback(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "rolled back",
    registry: options.RegistryFolder = Path("models"),
    dry_run: options.DryRun = False,
) -> None:
    """Go back to the version that was in production before."""
    model = _named(registry, name)
    before = model.way_back()
    if before is None:
        present = model.standing().production
        raise InputError(
            f"NAME must be of a model with an earlier version in production to go back to, "
            f"{name!r} has {f'version {present} alone' if present else 'none'}"
        )
    _replace(model, before, reason, back=True, dry_run=dry_run)


def _named(registry: Path, name: str) -> "Model":
    # Imported here, so that --help answers at once.
    from flows.store.registry import model_named

    return model_named(registry, name)


def _replace(model: "Model", number: int, reason: str, *, back: bool, dry_run: bool) -> None:
    present = model.standing().production
    if number == present:
        typer.echo(f"Version {number} of {model.name} is in production already.")
        return
    instead = f"instead of version {present}" if present else "as the first"
    if dry_run:
        typer.echo(f"Version {number} of {model.name} would come into production {instead}.")
        return
    if not model.promote(number, reason, instead_of=present, back=back):
        raise InputError(
            f"NAME must be of a model that nobody else promotes, version {model.standing().production} "
            f"of {model.name!r} has come into production meanwhile"
        )
    typer.echo(f"Version {number} of {model.name} is in production {instead}.")


def _figure(metrics: dict[str, Any]) -> str:
    from rnnfast.labels.metrics import key_figure

    name, _ = key_figure(metrics)
    return f"{name} {metrics[name]:.4g}" if name in metrics else ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
