"""rnnfast reviews."""

from dataclasses import dataclass
from typing import Annotated

from flows.cli.options import TrainingOptions
from flows.cli.panels import of_data, of_model, of_training, takes
from flows.cli.set_names import assigned
from flows.cli.settings import given, reading_of
from flows.cli.training import in_common, show_plan, show_run
from rnnfast.models.choices import CellChoice, SplitChoice


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
        str | None, of_data(help="Column with one of two labels; by default label.")
    ] = None
    group_column: Annotated[
        str | None, of_data(help="Column whose groups are never split, such as the product.")
    ] = None
    id_column: Annotated[str | None, of_data(help="Column that names the row.")] = None
    test_dataset: Annotated[
        str | None,
        of_data(help="A file, glob or folder with the test rows; by default they are split off."),
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
    yardstick: Annotated[
        bool, of_training(help="Also measure a linear model of words and pairs of words.")
    ] = False


@takes(ReviewsOptions)
def reviews(options: ReviewsOptions) -> None:
    """Train on labelled reviews, evaluate, and score the test rows."""
    from flows.orchestration.own_server import own_server

    server = None if options.dry_run else own_server()
    from flows.cli.look import look_at_training
    from flows.orchestration.surroundings import surroundings
    from flows.parameters import ReviewsData, ReviewsModel, ReviewsRequest, ReviewsTraining
    from flows.steps.prepare.settings import reviews_settings

    set_data, set_model, set_training = assigned(options.settings, "reviews")
    reading = {"reading": reading_of(options)}
    data = ReviewsData(**given(ReviewsData, options) | reading | set_data)
    model = ReviewsModel(**given(ReviewsModel, options) | set_model)
    training = ReviewsTraining(**given(ReviewsTraining, options) | set_training)
    settings = reviews_settings(data, model, training)
    request = ReviewsRequest(data=data, model=model, training=training, **in_common(options))
    look_at_training(request, data, settings)
    if options.dry_run:
        show_plan(request, data, settings)
        return
    with surroundings(server):
        from flows.reviews import reviews as flow

    show_run(flow(request))
