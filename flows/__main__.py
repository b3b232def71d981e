"""The command line: python -m flows reviews | sensors | score | compare.

Ends with code 0 only where the job was done, with 2 and one clear message where something that was
given cannot be used, and with 128 + its number where a signal ended it: 130 after Ctrl-C.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.errors import FlowError, InputError
from flows.interrupt import ended_by_signals
from flows.progress import console, log_to_terminal

if TYPE_CHECKING:
    from pydantic import BaseModel

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
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other field of model or training, as NAME=VALUE."),
]
Engine = Annotated[str, typer.Option(help="local: processes of this machine; ray: a cluster.")]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Processes that share the work: shards of files, by default one a core; training, by default one.",
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
    limit: Limit = None,
    gate: Gate = True,
) -> None:
    """Train on labelled reviews, evaluate, and score the test rows."""
    with _clear_errors():
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

        from flows.reviews import reviews as reviews_flow

        done = reviews_flow(
            run_dir,
            data,
            *configured,
            yardstick,
            overwrite,
            execution,
            processes,
            limits=_limits(limit),
            gate=gate,
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
    limit: Limit = None,
    gate: Gate = True,
) -> None:
    """Train on readings, to forecast or to classify, evaluate, and score the test readings."""
    with _clear_errors():
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

        from flows.sensors import sensors as sensors_flow

        done = sensors_flow(
            run_dir,
            data,
            *configured,
            yardstick,
            overwrite,
            processes,
            limits=_limits(limit),
            gate=gate,
        )
        _show_run(done)


@app.command()
def score(
    model: Annotated[Path, typer.Option(help="Folder of a run.")],
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
    limit: Limit = None,
    gate: Gate = False,
) -> None:
    """Score files with the model of a run; what is already scored is left as it is."""
    with _clear_errors():
        from flows.parameters import Execution
        from flows.score import score as score_flow
        from flows.steps.check_drift import DRIFT

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
            _limits(limit),
            gate,
        )
        table = _table("rows scored", f"{done.rows:,}")
        table.add_row("rows rejected", f"{done.rejected:,}")
        table.add_row("shards", f"{done.shards:,}, {done.skipped:,} of them done before")
        table.add_row("checks", f"{done.checks}, in {DRIFT}")
        table.add_row("time", f"{done.seconds:.1f} s")
        Console().print(table)
        typer.echo(f"Scores: {output}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folder of a run.")],
    output: Annotated[
        Path | None, typer.Option(help="HTML file to write, with the curves of the training.")
    ] = None,
) -> None:
    """Set runs side by side: where they differ, what they reached, what that took."""
    with _clear_errors():
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


def _show_run(run_dir: Path) -> None:
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    seconds = metrics["seconds"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _figures(metrics):
        table.add_row(name, value)
    table.add_row("training", f"{seconds['train']:.1f} s")
    table.add_row("whole job", f"{seconds['total']:.1f} s")
    Console().print(table)
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


def _table(name: str, value: str) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row(name, value)
    return table


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turns what whoever started the job can put right into one message and an exit code."""
    try:
        yield
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


if __name__ == "__main__":
    with ended_by_signals():
        app()
