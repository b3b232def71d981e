"""The command line: python -m flows reviews | score.

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
    from rnnfast.models import ModelConfig
    from rnnfast.training import TrainingSettings

# Prefect's own log goes to its server; the terminal shows what the steps report.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")

app = typer.Typer(
    help="Batch jobs over reviews.", add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def main() -> None:
    log_to_terminal()


@app.command()
def reviews(
    dataset: Annotated[str, typer.Option(help="sample, imdb, or a file or glob.")] = "sample",
    mirror: Annotated[
        str | None,
        typer.Option(help="Folder or address to download from.", envvar="RNNFAST_MIRROR"),
    ] = None,
    cell: Annotated[str, typer.Option(help="rnn, gru, lstm, mlp, cnn or ngrams.")] = "rnn",
    preset: Annotated[str, typer.Option(help="default or lecture.")] = "default",
    output: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default a new one below runs/.")
    ] = None,
    yardstick: Annotated[
        bool, typer.Option(help="Also measure a linear model of words and pairs of words.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the run at --output.")] = False,
    text_column: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the label.")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column whose groups are never split.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names the row.")] = None,
    test_dataset: Annotated[str | None, typer.Option(help="File or glob of test rows.")] = None,
    # Numbers come as they were typed: the settings know their rules and name the value.
    epochs: Annotated[
        str | None, typer.Option(metavar="N", help="Passes over the training rows.")
    ] = None,
    batch_size: Annotated[
        str | None, typer.Option(metavar="N", help="Rows in a training step.")
    ] = None,
    learning_rate: Annotated[
        str | None, typer.Option(metavar="X", help="Of the optimizer.")
    ] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="N", help="Of weights, order and dropout.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other field of model or training, as NAME=VALUE."),
    ] = None,
) -> None:
    """Train on labelled reviews, evaluate, and score the test rows."""
    with _clear_errors():
        # Imported here, so that --help and a mistyped option answer at once.
        from flows.parameters import ReviewsData

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
        training = _given(
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed
        )
        model_config, training_settings = _configured(
            cell, preset, data.suggested, training, settings or []
        )
        run_dir = output or Path("runs", f"{_stem(dataset)}-{cell}-{datetime.now():%Y%m%d-%H%M%S}")

        from flows.steps.publish import check_output

        check_output(run_dir, overwrite)

        from flows.reviews import reviews as reviews_flow

        _show_run(
            reviews_flow(run_dir, data, model_config, training_settings, yardstick, overwrite)
        )


@app.command()
def score(
    model: Annotated[Path, typer.Option(help="Folder of a run.")],
    input: Annotated[str, typer.Option(help="CSV, JSONL or Parquet: a file or glob.")],
    output: Annotated[Path, typer.Option(help="Folder for the scores.")],
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    id_column: Annotated[
        str | None, typer.Option(help="Column that names the row; by default id, if there is one.")
    ] = None,
) -> None:
    """Score reviews with the model of a run; what is already scored is left as it is."""
    with _clear_errors():
        from flows.score import score as score_flow

        done = score_flow(model, input, output, text_column, id_column)
        table = _table("rows scored", f"{done.rows:,}")
        table.add_row("rows rejected", f"{done.rejected:,}")
        table.add_row("files", f"{done.shards:,}, {done.skipped:,} of them done before")
        table.add_row("time", f"{done.seconds:.1f} s")
        Console().print(table)
        typer.echo(f"Scores: {output}")


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _stem(dataset: str) -> str:
    """A name for a run: the data set's, or that of the file without what a glob adds."""
    stem = Path(dataset).name.split(".")[0]
    return "".join(c for c in stem if c.isalnum() or c in "-_") or "files"


def _configured(
    cell: str,
    preset: str,
    suggested: Mapping[str, Any],
    training: dict[str, Any],
    settings: list[str],
) -> tuple["ModelConfig", "TrainingSettings"]:
    """The model and its training: the preset, what suits the data set, and what was given."""
    from rnnfast.models import PRESETS, ModelConfig
    from rnnfast.training import TrainingSettings

    if preset not in PRESETS:
        raise InputError(f"--preset must be {' or '.join(PRESETS)}, got {preset!r}")
    if cell not in PRESETS[preset]:
        raise InputError(
            f"--cell must be {' or '.join(PRESETS[preset])} for --preset {preset}, got {cell!r}"
        )
    chosen = PRESETS[preset][cell]
    model = {"cell": cell, **chosen["model"], **suggested}
    training = chosen["training"] | training
    for setting in settings:
        name, _, value = setting.partition("=")
        if name in ModelConfig.model_fields:
            model[name] = value
        elif name in TrainingSettings.model_fields:
            training[name] = value
        else:
            known = [*ModelConfig.model_fields, *TrainingSettings.model_fields]
            raise InputError(
                f"--set must be NAME=VALUE with a NAME of {', '.join(known)}; got {setting!r}"
            )
    return ModelConfig(**model), TrainingSettings(**training)


def _show_run(run_dir: Path) -> None:
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    test, seconds, data = metrics["test"], metrics["seconds"], metrics["data"]
    table = _table("test accuracy", f"{test['accuracy']:.2%} of {test['rows']:,} rows")
    if metrics.get("test_without_duplicates") and data["duplicates_in_train_and_test"]:
        table.add_row(
            "without duplicates",
            f"{metrics['test_without_duplicates']['accuracy']:.2%}, "
            f"{data['duplicates_in_train_and_test']:,} texts left out",
        )
    for name, measured in metrics.get("baseline", {}).items():
        table.add_row(f"{name} beside it", f"{measured['accuracy']:.2%}")
    table.add_row("AUC", f"{test['auc']:.4f}")
    table.add_row("F1", f"{test['f1']:.4f}")
    table.add_row("training", f"{seconds['train']:.1f} s")
    table.add_row("whole job", f"{seconds['total']:.1f} s")
    Console().print(table)
    typer.echo(f"Report: {run_dir / 'report.html'}")


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
