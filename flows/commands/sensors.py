"""python -m flows sensors."""

from typing import Annotated

import typer

from flows.commands import options
from flows.commands.settings import chosen, configured, given, parted
from flows.commands.training import in_common, show_plan, show_run


def sensors(
    dataset: Annotated[
        str, typer.Option(help="sample, szeged, ettm1, etth1, hapt, or a file or glob.")
    ] = "sample",
    task: Annotated[
        str | None, typer.Option(help="forecast or classify; by default what the data is for.")
    ] = None,
    mirror: options.Mirror = None,
    cell: Annotated[
        str,
        typer.Option(help="rnn, gru, lstm, linear, dlinear, mlp, cnn, persistence or seasonal."),
    ] = "gru",
    preset: options.Preset = "default",
    output: options.Output = None,
    yardstick: Annotated[
        bool, typer.Option(help="Also train the networks without recurrence beside it.")
    ] = False,
    overwrite: options.Overwrite = False,
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
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = None,
    workers: options.Workers = None,
    nodes: options.Nodes = None,
    rendezvous: options.Rendezvous = None,
    settings: options.Settings = None,
    register: options.Register = None,
    registry: options.Registry = None,
    margin: options.Margin = None,
    dry_run: options.DryRun = False,
    limit: options.Limit = None,
    gate: options.Gate = True,
) -> None:
    """Train on readings, to forecast or to classify, evaluate, and score the test readings."""
    said = locals()  # the options, before anything else has a name
    from flows.parameters import SensorsData
    from rnnfast.training import WindowTraining
    from rnnfast.window_models import WINDOW_PRESETS, WindowConfig

    of_preset = chosen(WINDOW_PRESETS, preset, cell)
    own, rest = parted(settings or [], SensorsData)
    data = SensorsData(**of_preset["data"] | given(SensorsData, said) | own)
    suggested_model, suggested_training = data.suggested
    model, training = configured(
        WindowConfig,
        {
            **suggested_model,
            **of_preset["model"],
            **given(WindowConfig, said),
            "task": data.chosen_task,
        },
        WindowTraining,
        {**suggested_training, **of_preset["training"], **given(WindowTraining, said)},
        rest,
    )
    common = in_common(said)
    if dry_run:
        show_plan(data, model, training, common["output"], common["registration"])
        return
    from flows.sensors import sensors as flow

    show_run(flow(data=data, model=model, training=training, **common))
