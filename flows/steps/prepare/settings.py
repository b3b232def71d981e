"""Settles the settings of model and training: what was asked for, else what preset and data ask for.

The command line, a schedule, Prefect's UI and Python ask for a model by the same requests, and get it from here. What
comes later counts more:

1. what the preset `default` has for the cell,
2. what follows from the rows, as far as they are known (`rnnfast.models.presets`, `window_rules`),
3. what suits a data set that has a name,
4. what another preset has, which was chosen,
5. what was asked for.

Nothing here needs torch: a command shows what it would do before it loads that.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.errors import InputError
from flows.parameters import (
    PretrainRequest,
    ReviewsData,
    ReviewsModel,
    ReviewsRequest,
    ReviewsTraining,
    SensorsData,
    SensorsModel,
    SensorsRequest,
    SensorsTraining,
)
from flows.steps.prepare.series_source import with_task
from rnnfast.models.config import RECURRENT, ModelConfig
from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.presets import (
    LANGUAGE_PRESETS,
    PRESETS,
    TRAINING_FROM_LANGUAGE_MODEL,
    WINDOW_PRESETS,
    TextFacts,
    suited_to_texts,
    training_suited_to_texts,
    training_suited_to_words,
)
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.window_rules import SeriesFacts, suited_to_series, training_for_series
from rnnfast.text.reference import SplitBy
from rnnfast.training.run_folder import RunFolderError, read_language
from rnnfast.training.settings import LoopSettings, TrainingSettings, WindowTraining

Settings = Mapping[str, Any]
_SHARED = ("cell", "nonlinearity", "max_tokens", "min_frequency", "split_by", "embedding_size",
           "hidden_size", "num_layers")  # fmt: skip
"""What a classifier has as the language model that it starts from."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReviewsSettings:
    """The settings of a job over reviews.

    Attributes:
        model: what is trained.
        training: how.
        choose: whether its n-grams are kept alone where the rest adds nothing.
        choose_counts: whether the validation rows say if its n-grams read how often a text has a word.
        init: folder of the language model that it starts from.
    """

    model: ModelConfig
    training: TrainingSettings
    choose: bool = False
    choose_counts: bool = False
    init: Path | None = None


@dataclass(frozen=True)
class LanguageSettings:
    """The settings of a training of a language model."""

    model: LanguageConfig
    training: LoopSettings


@dataclass(frozen=True)
class SensorsSettings:
    """The settings of a job over readings."""

    model: WindowConfig
    training: WindowTraining


def settled(
    request: ReviewsRequest | SensorsRequest,
) -> tuple[ReviewsData | SensorsData, ReviewsSettings | SensorsSettings]:
    """What a training reads, and its settings, as far as they follow without a look at the rows.

    Raises:
        InputError: the preset has no such cell.
        ValidationError: what was asked for does not go together.
    """
    if isinstance(request, ReviewsRequest):
        data = request.data
        return data, reviews_settings(data, request.model, request.training)
    readings = sensors_data(request.data, request.model)
    return readings, sensors_settings(readings, request.model, request.training)


def reviews_settings(
    data: ReviewsData,
    model: ReviewsModel,
    training: ReviewsTraining,
    facts: TextFacts | None = None,
) -> ReviewsSettings:
    """The settings of a classifier of texts.

    Args:
        data: what it learns from.
        model: what was asked for.
        training: likewise.
        facts: of the training rows; None: they are not read yet, and what follows from them stays open.

    Raises:
        InputError: the preset has no such cell.
        ValidationError: what was asked for does not go together.
    """
    start = _of_language_model(data, model) if model.init else {}
    cell = start.get("cell", "rnn") if model.cell == "auto" else model.cell
    chosen = _of_preset(PRESETS, model.preset, cell)
    suited = {"cell": cell} | _layered(
        model.preset, chosen["model"], suited_to_texts(facts) if facts else {}, data.suggested
    )
    if start:
        suited |= start
    elif data.split_by != "auto":
        suited["split_by"] = data.split_by
    elif facts and suited.get("split_by") == "characters":
        logger.info(
            "%.0f%% of the characters are of scripts without spaces between words: "
            "each of their characters is a word (--split-by spaces changes that)",
            100 * facts.unspaced,
        )
    config = ModelConfig(**suited | model.asked | {"cell": cell})
    of_rows = training_suited_to_texts(facts) if facts else {}
    if start:
        of_rows |= TRAINING_FROM_LANGUAGE_MODEL
    return ReviewsSettings(
        config,
        TrainingSettings(
            **_layered(model.preset, chosen["training"], of_rows, {}) | training.asked
        ),
        choose=model.cell == "auto" and config.wide,
        choose_counts=(config.wide or cell == "ngrams") and "ngram_counts" not in model.asked,
        init=model.init,
    )


def _of_language_model(data: ReviewsData, model: ReviewsModel) -> dict[str, Any]:
    """Fields of `ModelConfig` that a classifier has from the language model that it starts from.

    Raises:
        InputError: there is no such model, or another value of one of these was asked for.
    """
    assert model.init is not None
    try:
        run = read_language(model.init)
    except RunFolderError as error:
        raise InputError(f"--init: {error}") from error
    start = run.model.model_dump(include=set(_SHARED)) | {"bidirectional": False}
    asked = {name: value for name, value in model.asked.items() if value != "auto"}
    if data.split_by != "auto":
        asked["split_by"] = data.split_by
    for name, value in start.items():
        if name in asked and asked[name] != value:
            option = {"cell": "--cell", "split_by": "--split-by"}.get(name, f"--set {name}")
            raise InputError(
                f"{option} must be {value} with --init {model.init}, as its language model has it, got: {asked[name]}"
            )
    return start


def language_settings(request: PretrainRequest, split_by: SplitBy, words: int) -> LanguageSettings:
    """The settings of a language model.

    Args:
        request: what was asked for.
        split_by: what parts the words of the texts.
        words: how many there are to train on.
    """
    chosen = LANGUAGE_PRESETS[request.model.preset]
    model = LanguageConfig(
        **chosen["model"] | request.model.asked | {"split_by": split_by, "cell": request.model.cell}
    )
    suited = training_suited_to_words(words, model.window) | chosen["training"]
    return LanguageSettings(model, LoopSettings(**suited | request.training.asked))


def sensors_settings(
    data: SensorsData,
    model: SensorsModel,
    training: SensorsTraining,
    facts: SeriesFacts | None = None,
) -> SensorsSettings:
    """The settings of a model of windows; as `reviews_settings`, with the facts of the readings on their grid."""
    chosen = _of_preset(WINDOW_PRESETS, model.preset, model.network)
    for_model, for_training = data.suggested
    about = {"task": data.chosen_task, "cell": model.network}
    known = {**for_model, **chosen["model"], **model.asked, **about}
    suited = about | _layered(
        model.preset, chosen["model"], suited_to_series(facts, known) if facts else {}, for_model
    )
    if (
        model.network not in RECURRENT
    ):  # others read no segments, whatever the data set's model does
        suited |= {"form": "direct", "segment": 1, "wide": False}
    suited |= model.asked
    of_rows = training_for_series(facts, suited) if facts else {}
    return SensorsSettings(
        WindowConfig(**suited),
        WindowTraining(
            **_layered(model.preset, chosen["training"], of_rows, for_training) | training.asked
        ),
    )


def sensors_data(data: SensorsData, model: SensorsModel) -> SensorsData:
    """What to read, with all that was left open as the preset and the column of labels have it.

    Raises:
        InputError: the preset has no such cell, or the files cannot be read.
        ValidationError: what was asked for does not go together.
    """
    return with_task(data).with_defaults(
        _of_preset(WINDOW_PRESETS, model.preset, model.network)["data"]
    )


def _of_preset(
    presets: Mapping[Any, Mapping[Any, Mapping[str, Settings]]], preset: str, cell: str
) -> Mapping[str, Settings]:
    if cell not in presets[preset]:
        raise InputError(
            f"--cell must be {' or '.join(presets[preset])} for --preset {preset}, got {cell!r}"
        )
    return presets[preset][cell]


def _layered(
    preset: str, of_preset: Settings, of_rows: Settings, of_set: Settings
) -> dict[str, Any]:
    """Settings from the one that counts least to the one that counts most."""
    suited = {**of_rows, **of_set}
    return {**of_preset, **suited} if preset == "default" else {**suited, **of_preset}
