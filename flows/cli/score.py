"""rnnfast score."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows.cli.options import MissingMarks, ReadingOptions, RulesOptions, ScaleOptions
from flows.cli.panels import of_data, of_model, of_registry, of_run, of_scale, takes
from flows.cli.settings import given, limits_of, reading_of
from flows.cli.terminal import listing, pairs, show_account
from flows.cli.training import DRY
from flows.wording import counted, size
from rnnfast.models.choices import ScoringPrecision

if TYPE_CHECKING:
    from flows.steps.score.files import Plan


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(ReadingOptions, ScaleOptions, RulesOptions):
    """The options of the command."""

    input: Annotated[
        str,
        of_data(
            help="CSV or Parquet files, of reviews also JSONL: a file, glob or folder, which may be at s3://."
        ),
    ]
    text_column: Annotated[str, of_data(help="Column with the text.")] = "text"
    id_column: Annotated[
        str | None, of_data(help="Column that names the row; by default id, if there is one.")
    ] = None
    time_column: Annotated[
        str | None, of_data(help="Column of readings with the time; by default as in training.")
    ] = None
    group_column: Annotated[
        str | None, of_data(help="Column of readings with the device; by default as in training.")
    ] = None
    new: Annotated[
        bool, of_data(help="Take only files whose content no run before has added to --output.")
    ] = False
    settle: Annotated[
        str | None,
        of_data(
            metavar="SECONDS",
            help="Seconds for which a new file must be unmodified to be taken; by default 60.",
        ),
    ] = None
    since: Annotated[
        str | None, of_data(metavar="DATE", help="Take only files of this day and later ones.")
    ] = None
    until: Annotated[
        str | None, of_data(metavar="DATE", help="Take only files of days before this one.")
    ] = None
    missing: MissingMarks = None
    model: Annotated[
        str,
        of_model(
            help="Folder of a run, or the name of a registered model, of which the version in production scores."
        ),
    ]
    every: Annotated[
        str | None,
        of_model(
            metavar="N",
            help="Readings from one window to the next; by default the last window of each device to forecast, and "
            "half a window to give labels.",
        ),
    ] = None
    precision: Annotated[
        ScoringPrecision,
        of_model(
            help="What the recurrent layers compute in: fp32, bf16, int8, or what the run chose (auto)."
        ),
    ] = "auto"
    gpus: Annotated[
        str | None,
        of_scale(
            metavar="X",
            help="GPUs that Ray sets aside for each worker, which computes on them; by default 0.",
        ),
    ] = None
    registry: Annotated[
        str | None, of_registry(help="Folder of the registry; by default models.")
    ] = None
    output: Annotated[str, of_run(help="Folder for the scores, which may be at s3://.")]
    gate: Annotated[
        bool,
        of_run(
            help="Fail, after the scores are written, where the data is past the limit of a rule."
        ),
    ] = False


@takes(ScoreOptions)
def score(options: ScoreOptions) -> None:
    """Score files with the model of a run; what is already scored is left as it is."""
    from flows.orchestration.own_server import own_server

    server = None if options.dry_run else own_server()
    from flows import REPORT
    from flows.cli.look import look_at_scoring
    from flows.orchestration.surroundings import surroundings
    from flows.parameters import Execution, FileSelection, ScoreRequest
    from flows.store.outputs import DRIFT
    from flows.store.storage import redacted

    asked = given(ScoreRequest, options) | {
        "execution": Execution(**given(Execution, options)),
        "limits": limits_of(options.limit),
        "selection": FileSelection(**given(FileSelection, options)),
        "reading": reading_of(options),
    }
    request = ScoreRequest(**asked)
    look_at_scoring(request)
    if options.dry_run:
        from flows.steps.score.files import plan_files
        from flows.store.registry import chosen_model

        with chosen_model(request.model, request.registry) as folder:
            plan = plan_files(folder, request)
        _show_plan(plan, redacted(request.output))
        return

    with surroundings(server):
        import flows.steps.report.scores  # noqa: F401 (draws: there is time for that while the server starts)
        from flows.score import score as flow

    done = flow(request)
    if done.nothing:
        typer.echo(f"Nothing to do: {done.nothing}")
        show_account(done.account)
        return
    pairs(
        ("rows scored", f"{done.rows:,}"),
        ("rows rejected", f"{done.rejected:,}"),
        ("shards", f"{done.shards:,}, {done.skipped:,} of them done before"),
        ("checks", f"{done.checks}, in {DRIFT}"),
        ("time", f"{done.seconds:.1f} s"),
    )
    typer.echo(f"Scores: {redacted(options.output)}")
    typer.echo(f"Report: {redacted(options.output).rstrip('/')}/{REPORT}")
    show_account(done.account)


def _show_plan(plan: "Plan", output: str) -> None:
    """Prints the files that would be scored, and how much of them is to do."""
    table = listing("size", "file")
    for file in plan.files:
        table.add_row(size(file.size), escape(str(file)))
    Console().print(table)
    files = f"{counted(len(plan.files), 'file')} into {output}"
    if plan.done is None:
        shards = counted(plan.shards, "shard")
        typer.echo(f"Would score {shards} of {files}, but for those that turn out to be done")
    else:
        to_do = plan.shards - plan.done
        typer.echo(f"Would score {to_do:,} of {counted(plan.shards, 'shard')} of {files}")
    for name, reason in plan.failed.items():
        typer.echo(f"Would fail after that, since {name} cannot be read: {reason}")
    if plan.repeated or plan.waiting:
        typer.echo(
            f"Would leave {counted(plan.repeated, 'file')} whose content is there already, "
            f"and {counted(plan.waiting, 'file')} that may still be written to"
        )
    typer.echo(DRY)
