"""Trainings of one model that differ in their seed alone, and the mean of what all give as one model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from flows.steps.prepare.series import PreparedSeries
from flows.steps.prepare.settings import ReviewsSettings, SensorsSettings
from flows.steps.train.train import encoded, finish_reviews, finish_windows
from rnnfast.labels.target import Target
from rnnfast.models.ensembles import TextEnsemble, WindowEnsemble
from rnnfast.models.texts import WideAndDeep, build_model
from rnnfast.models.windows import build_window_model
from rnnfast.scoring.scorers import Scorer, SensorScorer
from rnnfast.training.weighing import weigh

AnySettings = TypeVar("AnySettings", ReviewsSettings, SensorsSettings)


def of_seeds(
    settings: AnySettings, count: int, run: Path, parts: Path
) -> list[tuple[AnySettings, Path]]:
    """The settings of each seed, from the one that was asked for on, and a new folder for its model.

    The first goes to the folder of the run.
    """
    found = [(settings, run)]
    for number in range(1, count):
        seed = settings.training.seed + number
        training = settings.training.model_copy(update={"seed": seed})
        folder = parts / f"seed-{seed}"
        folder.mkdir()
        found.append((replace(settings, training=training), folder))
    return found


def average_reviews(
    parts: Path,
    vocabulary: Path,
    settings: ReviewsSettings,
    folders: Sequence[Path],
    source: Mapping[str, Any],
    target: Target | None = None,
) -> dict[str, Any]:
    """Puts the mean of several models of texts into the first of their folders.

    Their n-grams, which all share, are weighed anew against the mean of what else they have.

    Args:
        parts: folder with `train.parquet` and `validation.parquet`.
        vocabulary: file of the vocabulary.
        settings: of the first of them.
        folders: of the models, none of which is its n-grams alone.
        source: where the rows come from, for the record.
        target: what the labels are, as `train` takes it.

    Returns:
        What the parts of the whole are worth, as of a single model.
    """
    scorers = [Scorer.load(folder) for folder in folders]
    models = [scorer.model for scorer in scorers]
    config = scorers[0].config.model_copy(update={"members": len(models)})
    with encoded(parts, vocabulary, settings.model, target) as found:
        model = build_model(config, len(found.words), outputs=found.target.outputs)
        deep = model
        if isinstance(model, WideAndDeep):
            assert isinstance(models[0], WideAndDeep)
            model.wide.load_state_dict(models[0].wide.state_dict())
            deep = model.deep
            models = [each.deep for each in models if isinstance(each, WideAndDeep)]
        assert isinstance(deep, TextEnsemble)
        for member, trained in zip(deep.members, models, strict=True):
            member.load_state_dict(trained.state_dict())
        model.eval()
        validation = found.rows("validation")
        if isinstance(model, WideAndDeep):
            weigh(model, validation)
        whole = replace(settings, model=config)
        return finish_reviews(model, whole, validation, found.words, source, folders[0])


def average_windows(
    parts: Path, prepared: PreparedSeries, settings: SensorsSettings, folders: Sequence[Path]
) -> None:
    """Puts the mean of several models of windows into the first of their folders, its intervals calibrated anew."""
    trained = [SensorScorer.load(folder).model for folder in folders]
    config = settings.model.model_copy(update={"members": len(trained)})
    outputs = prepared.target.window_outputs if prepared.target else 0
    shape = trained[0].channels, tuple(trained[0].targets), outputs
    model = build_window_model(config, *shape)
    assert isinstance(model, WindowEnsemble)
    for member, one in zip(model.members, trained, strict=True):
        member.load_state_dict(one.state_dict())
    model.set_scaler(prepared.scaler)
    finish_windows(model.eval(), parts, prepared, replace(settings, model=config), folders[0])
