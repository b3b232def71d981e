"""rnnfast reviews."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from flows.cli.options import TrainingOptions
from flows.cli.panels import of_data, of_model, of_training, takes
from flows.cli.training import run_training
from rnnfast.models.choices import CellChoice, LabelTask, SplitChoice


@dataclass(frozen=True, kw_only=True)
class ReviewsOptions(TrainingOptions):
    """The options of the command."""

    dataset: Annotated[
        str,
        of_data(
            help="Labelled reviews: sample, imdb, or a file, glob or folder, which may be at s3://."
        ),
    ] = "sample"
    text_column: Annotated[str | None, of_data(help="Column with the text; by default text.")] = (
        None
    )
    label_column: Annotated[
        str | None,
        of_data(
            help="Column with the label, or several that hold 0 and 1, separated by commas; by default label."
        ),
    ] = None
    task: Annotated[
        LabelTask | None,
        of_model(
            help="What the labels are: one of some classes (classify), several at once (tag), or a number (regress); "
            "by default what the column says."
        ),
    ] = None
    group_column: Annotated[
        str | None, of_data(help="Column whose groups are never split, such as the product.")
    ] = None
    id_column: Annotated[str | None, of_data(help="Column that names the row.")] = None
    test_dataset: Annotated[
        str | None,
        of_data(help="A file, glob or folder with the test rows; by default they are split off."),
    ] = None
    pseudo_labels: Annotated[
        str | None,
        of_data(
            help="A file, glob or folder with texts without labels: the model labels them, and learns again with those "
            "that it is surest of."
        ),
    ] = None
    split_by: Annotated[
        SplitChoice | None,
        of_data(
            help="What separates words: spaces; or characters, which are words in scripts without spaces; by default "
            "auto, as the texts are."
        ),
    ] = None
    cell: Annotated[
        CellChoice,
        of_model(
            help="The model: a recurrent network (rnn, gru, lstm), another one (mlp, cnn), or a linear model of words "
            "and pairs of words (ngrams); auto takes rnn, or ngrams where the rest adds nothing."
        ),
    ] = "auto"
    init: Annotated[
        Path | None,
        of_model(
            help="Folder of a language model, from rnnfast pretrain, that the recurrent model starts from."
        ),
    ] = None
    yardstick: Annotated[
        bool, of_training(help="Also measure a linear model of words and pairs of words.")
    ] = False


@takes(ReviewsOptions)
def reviews(options: ReviewsOptions) -> None:
    """Train on labelled reviews, evaluate, and score the test rows."""
    run_training(options, "reviews")
