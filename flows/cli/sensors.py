"""rnnfast sensors."""

from dataclasses import dataclass
from typing import Annotated

from flows.cli.options import MissingMarks, TimeColumn, TimeFormat, TrainingOptions
from flows.cli.panels import of_data, of_model, of_training, takes
from flows.cli.training import run_training
from rnnfast.models.choices import Task, WindowCellChoice


@dataclass(frozen=True, kw_only=True)
class SensorsOptions(TrainingOptions):
    """The options of the command."""

    dataset: Annotated[
        str,
        of_data(
            help="Readings: sample, szeged, ettm1, etth1, hapt, or a file, glob or folder, which may be at s3://."
        ),
    ] = "sample"
    time_column: TimeColumn = None
    time_format: TimeFormat = None
    target: Annotated[
        str | None,
        of_data(help="Columns to forecast, separated by commas; by default all that are read."),
    ] = None
    features: Annotated[
        str | None,
        of_data(
            help="Columns to read, separated by commas, and calendar for the hour, day and season; by default all "
            "columns of numbers."
        ),
    ] = None
    label_column: Annotated[
        str | None,
        of_data(
            help="Column with the label, or several that hold 0 and 1, separated by commas; never a feature."
        ),
    ] = None
    group_column: Annotated[
        str | None, of_data(help="Column with the device or person; by default all is one series.")
    ] = None
    missing: MissingMarks = None
    task: Annotated[
        Task | None,
        of_model(
            help="What the model does: forecast, or give windows a class (classify), several labels (tag) or a number "
            "(regress); by default what the data set is for, or the label column says, else forecast."
        ),
    ] = None
    cell: Annotated[
        WindowCellChoice,
        of_model(
            help="The model: a recurrent network (rnn, gru, lstm), another one (linear, nlinear, dlinear, mlp, cnn), "
            "or a rule without training (persistence, seasonal). auto takes gru, or one of these that is better."
        ),
    ] = "auto"
    horizon: Annotated[
        str | None,
        of_model(metavar="N", help="Readings ahead to forecast; by default as suits the data."),
    ] = None
    yardstick: Annotated[
        bool, of_training(help="Also train the networks without recurrence, for comparison.")
    ] = False


@takes(SensorsOptions)
def sensors(options: SensorsOptions) -> None:
    """Train on readings, to forecast or to give windows labels, evaluate, and score the test readings."""
    run_training(options, "sensors")
