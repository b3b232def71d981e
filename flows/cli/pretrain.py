"""rnnfast pretrain."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import DryRun, StepsOptions
from flows.cli.panels import of_data, of_model, of_training, takes
from flows.cli.set_names import assigned
from flows.cli.settings import given, reading_of
from flows.cli.terminal import pairs
from flows.cli.training import new_folder
from rnnfast.models.choices import LanguageCell, LanguagePreset, SplitChoice


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(StepsOptions):
    """The options of the command."""

    texts: Annotated[
        str,
        of_data(
            help="Texts without labels: sample, imdb, or a file, glob or folder, which may be at s3://."
        ),
    ] = "sample"
    text_column: Annotated[str | None, of_data(help="Column with the text; by default text.")] = (
        None
    )
    split_by: Annotated[
        SplitChoice | None,
        of_data(
            help="What separates words: spaces; or characters, which are words in scripts without spaces; by default "
            "auto, as the texts are."
        ),
    ] = None
    preset: Annotated[
        LanguagePreset,
        of_model(
            help="Where the settings of model and training come from: a model that is trained in minutes (default), or "
            "a larger one that classifiers gain more from (best)."
        ),
    ] = "default"
    cell: Annotated[LanguageCell, of_model(help="The recurrent layer: rnn, gru or lstm.")] = "gru"
    epochs: Annotated[
        str | None,
        of_training(metavar="N", help="Passes over the texts; by default as many words ask for."),
    ] = None
    batch_size: Annotated[
        str | None,
        of_training(metavar="N", help="Streams that are read in parallel; by default likewise."),
    ] = None
    learning_rate: Annotated[
        str | None, of_training(metavar="X", help="Learning rate of the optimizer.")
    ] = None
    dry_run: DryRun = False


@takes(PretrainOptions)
def pretrain(options: PretrainOptions) -> None:
    """Train a language model on texts without labels, for `rnnfast reviews --init`."""
    from flows.orchestration.own_server import own_server

    server = None if options.dry_run else own_server()
    from flows.cli.look import look_at_texts
    from flows.orchestration.surroundings import surroundings
    from flows.parameters import (
        Execution,
        LanguageRequest,
        LanguageTraining,
        PretrainRequest,
        Processes,
        TextsData,
    )
    from flows.steps.prepare.settings import language_settings
    from flows.steps.report.publish import check_output

    output = options.output or new_folder(options.texts, "language")
    check_output(output, options.overwrite)
    of_data_, of_model_, of_training_ = assigned(options.settings, "pretrain")
    request = PretrainRequest(
        output=output,
        overwrite=options.overwrite,
        data=TextsData(**given(TextsData, options) | of_data_, reading=reading_of(options)),
        model=LanguageRequest(**given(LanguageRequest, options) | of_model_),
        training=LanguageTraining(**given(LanguageTraining, options) | of_training_),
        execution=Execution(**given(Execution, options)),
        processes=Processes(**given(Processes, options)),
    )
    settings = language_settings(request, "spaces", 0)
    request.require_use(settings.training.batch_size)
    look_at_texts(request)
    if options.dry_run:
        pairs(
            *((f"model {name}", str(value)) for name, value in settings.model),
            *((f"training {name}", str(value)) for name, value in request.training.asked.items()),
        )
        typer.echo(f"Would leave the run at {output}")
        return
    with surroundings(server):
        from flows.pretrain import pretrain as run

    show_pretrained(run(request))


def show_pretrained(run_dir: Path) -> None:
    """Prints the figures of a language model, and where its report is."""
    from flows.store.json_files import read_json

    metrics = read_json(run_dir / "metrics.json")
    data, words, seconds = metrics["data"], metrics["words"], metrics["seconds"]
    pairs(
        (
            "perplexity",
            f"{metrics['validation']['perplexity']:.1f} on {words['validation_words']:,} words held out",
        ),
        ("training", f"{seconds['train']:.1f} s for {words['train_words']:,} words"),
        ("whole job", f"{seconds['total']:.1f} s"),
    )
    typer.echo(f"Report: {run_dir / 'report.html'}")
    typer.echo(f"Start from it: rnnfast reviews --init {run_dir} --dataset ...")
    used = data["train_rows"] + data["validation_rows"]
    typer.echo(
        f"Read {used + data['rejected_rows']:,} rows: used {used:,}, left out {data['rejected_rows']:,}"
    )
