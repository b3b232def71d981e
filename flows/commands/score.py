"""python -m flows score."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows.commands import options
from flows.commands.settings import given, limits_of
from flows.commands.terminal import listing, pairs
from flows.wording import size

if TYPE_CHECKING:
    from flows.steps.score import Plan


def score(
    model: Annotated[
        str,
        typer.Option(help="Folder of a run, or a model of the registry: what is in production."),
    ],
    input: Annotated[
        str,
        typer.Option(
            help="CSV, Parquet, of reviews also JSONL: a file, glob or folder; also s3://"
        ),
    ],
    output: Annotated[str, typer.Option(help="Folder for the scores; also s3://")],
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    id_column: Annotated[
        str | None, typer.Option(help="Column that names the row; by default id, if there is one.")
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(help="Of readings: column with the time; by default as in training."),
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Of readings: column with the device; likewise.")
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of readings: so many from one window to the next."),
    ] = None,
    engine: options.Engine = "local",
    workers: options.Workers = None,
    address: options.Address = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="X", help="That Ray sets aside for each worker; the layers compute on the CPU."
        ),
    ] = None,
    shard_rows: options.ShardRows = None,
    memory_limit: options.MemoryLimit = None,
    new: Annotated[
        bool, typer.Option(help="Only files whose content no run before added to --output.")
    ] = False,
    settle: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS", help="For which a new file must be unmodified, by default 60."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only files of this day and later ones.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only files of days before this one.")
    ] = None,
    registry: options.Registry = None,
    dry_run: options.DryRun = False,
    limit: options.Limit = None,
    gate: options.Gate = False,
) -> None:
    """Score files with the model of a run; what is already scored is left as it is."""
    said = locals()  # the options, before anything else has a name
    from flows import REPORT
    from flows.outputs import DRIFT
    from flows.parameters import Execution, Selection
    from flows.storage import told

    execution = Execution(**given(Execution, said))
    limits = limits_of(limit)
    selection = Selection(**given(Selection, said))
    folder = Path(registry or "models")
    if dry_run:
        from flows.datasets.readers import Columns
        from flows.steps.score import plan_files
        from flows.steps.scoring_job import chosen_model, scoring_job

        columns = Columns(text=text_column, id=id_column)
        with chosen_model(model, folder) as run_dir:
            job = scoring_job(run_dir, columns, output, every, time_column, group_column, execution)
            plan = plan_files(job, input, selection)
        _show_plan(plan, told(output))
        return

    from flows.score import score as flow

    done = flow(
        model,
        input,
        output,
        text_column,
        id_column,
        time_column,
        group_column,
        every,
        execution,
        selection,
        folder,
        limits,
        gate,
    )
    if done.nothing:
        typer.echo(f"Nothing to do: {done.nothing}")
        return
    pairs(
        ("rows scored", f"{done.rows:,}"),
        ("rows rejected", f"{done.rejected:,}"),
        ("shards", f"{done.shards:,}, {done.skipped:,} of them done before"),
        ("checks", f"{done.checks}, in {DRIFT}"),
        ("time", f"{done.seconds:.1f} s"),
    )
    typer.echo(f"Scores: {told(output)}")
    typer.echo(f"Report: {told(output).rstrip('/')}/{REPORT}")


def _show_plan(plan: "Plan", output: str) -> None:
    """Prints the files that would be scored, and how much of them is to do."""
    table = listing("size", "file")
    for file in plan.files:
        table.add_row(size(file.size), escape(str(file)))
    Console().print(table)
    what = f"{plan.shards:,} shards of {len(plan.files):,} files into {output}"
    if plan.done is None:
        typer.echo(f"Would score {what}, but for those that turn out to be done")
    else:
        typer.echo(f"Would score {plan.shards - plan.done:,} of {what}")
    for name, reason in plan.failed.items():
        typer.echo(f"Would fail after that, since {name} cannot be read: {reason}")
    if plan.repeated or plan.waiting:
        typer.echo(
            f"Would leave {plan.repeated:,} files whose content is there already, "
            f"and {plan.waiting:,} that may still be written to"
        )
