"""python -m flows reviews."""

from typing import Annotated

import typer

from flows.commands import options
from flows.commands.settings import chosen, configured, given
from flows.commands.training import in_common, show_plan, show_run


def reviews(
    dataset: Annotated[
        str, typer.Option(help="sample, imdb, or a file, glob or folder; also s3://")
    ] = "sample",
    mirror: options.Mirror = None,
    cell: Annotated[str, typer.Option(help="rnn, gru, lstm, mlp, cnn or ngrams.")] = "rnn",
    preset: options.Preset = "default",
    output: options.Output = None,
    yardstick: Annotated[
        bool, typer.Option(help="Also measure a linear model of words and pairs of words.")
    ] = False,
    overwrite: options.Overwrite = False,
    text_column: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column with the label.")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column whose groups are never split.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names the row.")] = None,
    test_dataset: Annotated[str | None, typer.Option(help="The same, of test rows.")] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = None,
    nodes: options.Nodes = None,
    rendezvous: options.Rendezvous = None,
    settings: options.Settings = None,
    engine: options.Engine = "local",
    workers: options.Workers = None,
    address: options.Address = None,
    shard_rows: options.ShardRows = None,
    memory_limit: options.MemoryLimit = None,
    register: options.Register = None,
    registry: options.Registry = None,
    margin: options.Margin = None,
    dry_run: options.DryRun = False,
    limit: options.Limit = None,
    gate: options.Gate = True,
) -> None:
    """Train on labelled reviews, evaluate, and score the test rows."""
    said = locals()  # the options, before anything else has a name
    from flows.parameters import Execution, ReviewsData

    data = ReviewsData(**given(ReviewsData, said))
    execution = Execution(**given(Execution, said))
    from rnnfast.models import PRESETS, ModelConfig
    from rnnfast.training import TrainingSettings

    of_preset = chosen(PRESETS, preset, cell)
    model, training = configured(
        ModelConfig,
        {"cell": cell, **of_preset["model"], **data.suggested},
        TrainingSettings,
        of_preset["training"] | given(TrainingSettings, said),
        settings or [],
    )
    common = in_common(said)
    if dry_run:
        show_plan(data, model, training, common["output"], common["registration"])
        return
    from flows.reviews import reviews as flow

    show_run(flow(data=data, model=model, training=training, execution=execution, **common))
