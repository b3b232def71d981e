"""The command line: python -m flows reviews | sensors | score | compare | models | clean | serve.

Ends with code 0 only where the job was done, with 2 and one clear message where something that was
given cannot be used, and with 128 + its number where a signal ended it: 130 after Ctrl-C.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows import models
from flows.command_line import clear_errors, listing, pairs, size
from flows.errors import InputError
from flows.interrupt import ended_by_signals
from flows.models import DryRun
from flows.progress import log_to_terminal
from flows.serving import serve

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flows.parameters import JobData, Registration
    from flows.steps.score import Plan

# Prefect's own log goes to its server; the terminal shows what the steps report.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")

Mirror = Annotated[
    str | None, typer.Option(help="Folder or address to download from.", envvar="RNNFAST_MIRROR")
]
Preset = Annotated[str, typer.Option(help="default or lecture.")]
Output = Annotated[
    Path | None, typer.Option(help="Folder of the run; by default a new one below runs/.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace the run at --output.")]
# Numbers come as they were typed: the settings know their rules and name the value.
Epochs = Annotated[str | None, typer.Option(metavar="N", help="Passes over the training rows.")]
BatchSize = Annotated[str | None, typer.Option(metavar="N", help="Rows in a training step.")]
LearningRate = Annotated[str | None, typer.Option(metavar="X", help="Of the optimizer.")]
Seed = Annotated[str | None, typer.Option(metavar="N", help="Of weights, order and dropout.")]
Nodes = Annotated[
    str | None, typer.Option(metavar="N", help="Machines on which the same command is started.")
]
Rendezvous = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Of one of the machines, where they meet.")
]
Register = Annotated[
    str | None, typer.Option(metavar="NAME", help="Registers the model, and promotes a better one.")
]
Registry = Annotated[str | None, typer.Option(help="Folder of the registry, by default models.")]
Margin = Annotated[
    str | None, typer.Option(metavar="X", help="Least gain over the version in production.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other field of model or training, as NAME=VALUE."),
]
Engine = Annotated[str, typer.Option(help="local: processes of this machine; ray: a cluster.")]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Processes that share the work and the cores: shards of files, by default one for every 4 cores; "
        "training, by default one.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Of a Ray cluster that runs; by default one of its own."
    ),
]
ShardRows = Annotated[
    str | None, typer.Option(metavar="N", help="Rows of a file that are done together.")
]
MemoryLimit = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Of all processes together, such as 4GB.")
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", help="A rule for the data, as RULE=WARNING,LIMIT or RULE=off."),
]
Gate = Annotated[bool, typer.Option(help="Fail where the data is past the limit of a rule.")]

app = typer.Typer(
    help="Batch jobs over reviews and sensor readings.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models.app, name="models")
app.command()(serve)


@app.callback()
def main() -> None:
    log_to_terminal()


@app.command()
def reviews(
    dataset: Annotated[
        str, typer.Option(help="sample, imdb, or a file, glob or folder; also s3://")
    ] = "sample",
    mirror: Mirror = None,
    cell: Annotated[str, typer.Option(help="rnn, gru, lstm, mlp, cnn or ngrams.")] = "rnn",
    preset: Preset = "default",
    output: Output = None,
    yardstick: Annotated[
        bool, typer.Option(help="Also measure a linear model of words and pairs of words.")
    ] = False,
    overwrite: Overwrite = False,
    text_column: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the label.")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column whose groups are never split.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names the row.")] = None,
    test_dataset: Annotated[str | None, typer.Option(help="The same, of test rows.")] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    seed: Seed = None,
    nodes: Nodes = None,
    rendezvous: Rendezvous = None,
    settings: Settings = None,
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    shard_rows: ShardRows = None,
    memory_limit: MemoryLimit = None,
    register: Register = None,
    registry: Registry = None,
    margin: Margin = None,
    dry_run: DryRun = False,
    limit: Limit = None,
    gate: Gate = True,
) -> None:
    """Train on labelled reviews, evaluate, and score the test rows."""
    with clear_errors():
        # Imported here, so that --help and a mistyped option answer at once.
        from flows.parameters import Execution, Processes, ReviewsData

        data = ReviewsData(
            **_given(
                dataset=dataset,
                mirror=mirror,
                text_column=text_column,
                label_column=label_column,
                group_column=group_column,
                id_column=id_column,
                test_dataset=test_dataset,
            )
        )
        execution = Execution(
            **_given(
                engine=engine,
                workers=workers,
                address=address,
                shard_rows=shard_rows,
                memory_limit=memory_limit,
            )
        )
        training = _given(
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed
        )
        from rnnfast.models import PRESETS, ModelConfig
        from rnnfast.training import TrainingSettings

        chosen = _chosen(PRESETS, preset, cell)
        model = {"cell": cell, **chosen["model"], **data.suggested}
        configured = _configured(
            ModelConfig, model, TrainingSettings, chosen["training"] | training, settings or []
        )
        run_dir = _run_dir(output, dataset, cell, overwrite)

        processes = Processes(**_given(workers=workers, nodes=nodes, rendezvous=rendezvous))
        registration = _registration(register, registry, margin)
        limits = _limits(limit)
        if dry_run:
            _show_plan(run_dir, data, *configured, registration)
            return

        from flows.reviews import reviews as reviews_flow

        done = reviews_flow(
            run_dir,
            data,
            *configured,
            yardstick,
            overwrite,
            execution,
            processes,
            registration,
            limits,
            gate,
        )
        _show_run(done)


@app.command()
def sensors(
    dataset: Annotated[
        str, typer.Option(help="sample, szeged, ettm1, etth1, hapt, or a file or glob.")
    ] = "sample",
    task: Annotated[
        str | None, typer.Option(help="forecast or classify; by default what the data is for.")
    ] = None,
    mirror: Mirror = None,
    cell: Annotated[
        str,
        typer.Option(help="rnn, gru, lstm, linear, dlinear, mlp, cnn, persistence or seasonal."),
    ] = "gru",
    preset: Preset = "default",
    output: Output = None,
    yardstick: Annotated[
        bool, typer.Option(help="Also train the networks without recurrence beside it.")
    ] = False,
    overwrite: Overwrite = False,
    time_column: Annotated[str | None, typer.Option(help="Column with the time stamp.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Columns to forecast, parted by commas.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Columns to read, and calendar, parted by commas.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the label.")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column with the device or person.")
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(metavar="N", help="Readings ahead to forecast.")
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    seed: Seed = None,
    workers: Workers = None,
    nodes: Nodes = None,
    rendezvous: Rendezvous = None,
    settings: Settings = None,
    register: Register = None,
    registry: Registry = None,
    margin: Margin = None,
    dry_run: DryRun = False,
    limit: Limit = None,
    gate: Gate = True,
) -> None:
    """Train on readings, to forecast or to classify, evaluate, and score the test readings."""
    with clear_errors():
        from flows.parameters import Processes, SensorsData
        from rnnfast.training import WindowTraining
        from rnnfast.window_models import WINDOW_PRESETS, WindowConfig

        chosen = _chosen(WINDOW_PRESETS, preset, cell)
        given = _given(
            dataset=dataset,
            task=task,
            mirror=mirror,
            time_column=time_column,
            target=target,
            features=features,
            label_column=label_column,
            group_column=group_column,
        )
        own, rest = _parted(settings or [], SensorsData)
        data = SensorsData(**chosen["data"] | given | own)
        suggested_model, suggested_training = data.suggested
        training = _given(
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed
        )
        model = {**suggested_model, **chosen["model"], **_given(horizon=horizon)}
        configured = _configured(
            WindowConfig,
            model | {"cell": cell, "task": data.chosen_task},
            WindowTraining,
            {**suggested_training, **chosen["training"], **training},
            rest,
        )
        run_dir = _run_dir(output, dataset, cell, overwrite)

        processes = Processes(**_given(workers=workers, nodes=nodes, rendezvous=rendezvous))
        registration = _registration(register, registry, margin)
        limits = _limits(limit)
        if dry_run:
            _show_plan(run_dir, data, *configured, registration)
            return

        from flows.sensors import sensors as sensors_flow

        done = sensors_flow(
            run_dir,
            data,
            *configured,
            yardstick,
            overwrite,
            processes,
            registration,
            limits,
            gate,
        )
        _show_run(done)


@app.command()
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
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="X", help="That Ray sets aside for each worker; the layers compute on the CPU."
        ),
    ] = None,
    shard_rows: ShardRows = None,
    memory_limit: MemoryLimit = None,
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
    registry: Registry = None,
    dry_run: DryRun = False,
    limit: Limit = None,
    gate: Gate = False,
) -> None:
    """Score files with the model of a run; what is already scored is left as it is."""
    with clear_errors():
        from flows import REPORT
        from flows.outputs import DRIFT
        from flows.parameters import Execution, Selection

        execution = Execution(
            **_given(
                engine=engine,
                workers=workers,
                address=address,
                gpus=gpus,
                shard_rows=shard_rows,
                memory_limit=memory_limit,
            )
        )
        limits = _limits(limit)
        selection = Selection(**_given(new=new, settle=settle, since=since, until=until))
        folder = Path(registry or "models")
        if dry_run:
            from flows.datasets.readers import Columns
            from flows.steps.score import plan_files
            from flows.steps.scoring_job import chosen_model

            columns = Columns(text=text_column, id=id_column)
            readings = (every, time_column, group_column)
            with chosen_model(model, folder) as run_dir:
                plan = plan_files(run_dir, input, columns, output, *readings, execution, selection)
            _show_scoring_plan(plan, output)
            return

        from flows.score import score as score_flow

        done = score_flow(
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
        typer.echo(f"Scores: {output}")
        typer.echo(f"Report: {output.rstrip('/')}/{REPORT}")


@app.command()
def clean(
    registry: Annotated[Path, typer.Option(help="Folder of the registry.")] = Path("models"),
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    keep: Annotated[
        int, typer.Option(min=1, metavar="N", help="Runs, and versions of each model, to keep.")
    ] = 10,
    days: Annotated[
        float, typer.Option(min=0, metavar="N", help="Age of what dead jobs left to go on with.")
    ] = 7,
    dry_run: DryRun = False,
) -> None:
    """Remove old runs and versions, and what dead jobs left; never what is in production or a way back to."""
    with clear_errors():
        from flows import cache_folder
        from flows.steps.clean import removable, remove

        found = removable(registry, runs, cache_folder(), keep, days)
        table = listing("size", "what", "path")
        for each in found:
            table.add_row(size(each.bytes), each.what, escape(str(each.path)))
        Console().print(table)
        gone = found if dry_run else [each for each in found if remove(each)]
        does = "Would remove" if dry_run else "Removed"
        typer.echo(f"{does} {len(gone):,} folders and files, {size(sum(e.bytes for e in gone))}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folder of a run.")],
    output: Annotated[
        Path | None, typer.Option(help="HTML file to write, with the curves of the training.")
    ] = None,
) -> None:
    """Set runs side by side: where they differ, what they reached, what that took."""
    with clear_errors():
        from rnnfast.comparison import compare as side_by_side
        from rnnfast.comparison import write_comparison

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


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _limits(given: list[str] | None) -> Any:
    """The rules for the data, those that were given in place of the usual ones."""
    from rnnfast.checks import Limits

    own, unknown = _parted(given or [], Limits)
    if unknown or len(own) < len(given or []):
        known = ", ".join(Limits.model_fields)
        wrong = unknown[0] if unknown else (given or [])[-1]
        raise InputError(
            f"--limit must be RULE=WARNING,LIMIT, once for a RULE of {known}; got {wrong!r}"
        )
    return Limits(**own)


def _stem(dataset: str) -> str:
    """A name for a run: the data set's, or that of the file without what a glob adds."""
    stem = Path(dataset).name.split(".")[0]
    return "".join(c for c in stem if c.isalnum() or c in "-_") or "files"


def _run_dir(output: Path | None, dataset: str, cell: str, overwrite: bool) -> Path:
    """The folder of the run, which must be free."""
    from flows.steps.publish import check_output

    run_dir = output or Path("runs", f"{_stem(dataset)}-{cell}-{datetime.now():%Y%m%d-%H%M%S}")
    check_output(run_dir, overwrite)
    return run_dir


def _chosen(presets: Mapping[str, Mapping[Any, Any]], preset: str, cell: str) -> dict[str, Any]:
    """What a preset says of a cell."""
    if preset not in presets:
        raise InputError(f"--preset must be {' or '.join(presets)}, got {preset!r}")
    if cell not in presets[preset]:
        raise InputError(
            f"--cell must be {' or '.join(presets[preset])} for --preset {preset}, got {cell!r}"
        )
    return presets[preset][cell]


def _parted(settings: list[str], kind: type["BaseModel"]) -> tuple[dict[str, str], list[str]]:
    """The settings NAME=VALUE that are fields of `kind`, and the others."""
    own = dict(s.split("=", 1) for s in settings if s.partition("=")[0] in kind.model_fields)
    return own, [s for s in settings if s.partition("=")[0] not in kind.model_fields]


def _configured(
    model_kind: type["BaseModel"],
    model: dict[str, Any],
    training_kind: type["BaseModel"],
    training: dict[str, Any],
    settings: list[str],
) -> tuple[Any, Any]:
    """The model and its training, with what was given by --set."""
    of_model, rest = _parted(settings, model_kind)
    of_training, unknown = _parted(rest, training_kind)
    if unknown or any("=" not in setting for setting in settings):
        known = [*model_kind.model_fields, *training_kind.model_fields]
        wrong = [*unknown, *(setting for setting in settings if "=" not in setting)]
        raise InputError(
            f"--set must be NAME=VALUE with a NAME of {', '.join(known)}; got {wrong[0]!r}"
        )
    return model_kind(**model | of_model), training_kind(**training | of_training)


def _registration(
    name: str | None, registry: str | None, margin: str | None
) -> "Registration | None":
    """How the model is registered, if it is."""
    from flows.parameters import Registration

    more = _given(registry=registry, margin=margin)
    if name is not None:
        return Registration(name=name, **more)
    if more:
        option, value = next(iter(more.items()))
        raise InputError(f"--{option} must go with --register NAME, got: {value} alone")
    return None


def _show_plan(
    run_dir: Path,
    data: "JobData",
    model: "BaseModel",
    training: "BaseModel",
    registration: "Registration | None",
) -> None:
    """Prints the settings as they were resolved, and what the job would do with them."""
    groups = (("data", data), ("model", model), ("training", training))
    values = [
        (f"{group} {name}", str(value))
        for group, settings in groups
        for name, value in settings.model_dump(mode="json").items()
        if value not in (None, [], "")
    ]
    pairs(*values)
    typer.echo(f"Would leave the run at {run_dir}")
    if registration is not None:
        from flows.registry import Model

        known = Model(registration.registry / registration.name)
        production = known.standing().production
        rival = f"version {production}" if production else "what needs no model"
        typer.echo(
            f"Would register it as {known.name} in {registration.registry}, and put it into "
            f"production if it is better than {rival} by {registration.margin:g}"
        )


def _show_scoring_plan(plan: "Plan", output: str) -> None:
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
    if plan.repeated or plan.waiting:
        typer.echo(
            f"Would leave {plan.repeated:,} files whose content is there already, "
            f"and {plan.waiting:,} that may still be written to"
        )


def _show_run(run_dir: Path) -> None:
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    seconds = metrics["seconds"]
    pairs(
        *_figures(metrics),
        ("training", f"{seconds['train']:.1f} s"),
        ("whole job", f"{seconds['total']:.1f} s"),
    )
    typer.echo(f"Report: {run_dir / 'report.html'}")


def _figures(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of what people look at first."""
    test, data = metrics["test"], metrics["data"]
    main = "accuracy" if "accuracy" in test else "mse"
    form = ".2%" if main == "accuracy" else ".4f"
    unit = "windows" if "windows" in metrics else "rows"
    yield f"test {main}", f"{test[main]:{form}} of {test['rows']:,} {unit}"
    if metrics.get("test_without_duplicates") and data["duplicates_in_train_and_test"]:
        yield (
            "without duplicates",
            f"{metrics['test_without_duplicates']['accuracy']:.2%}, "
            f"{data['duplicates_in_train_and_test']:,} texts left out",
        )
    for name, measured in metrics.get("baseline", {}).items():
        yield f"{name} beside it", f"{measured[main]:{form}}"
    others = {"auc": "AUC", "f1": "F1", "macro_f1": "macro F1", "mae": "MAE", "rmse": "RMSE",
              "r2": "R2", "skill": "skill against persistence", "coverage": "inside the interval"}  # fmt: skip
    for key, name in others.items():
        if test.get(key) is not None:
            yield name, f"{test[key]:.4f}"


if __name__ == "__main__":
    with ended_by_signals():
        app()
