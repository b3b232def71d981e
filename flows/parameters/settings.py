"""What is asked for of a model and its training: a field that is left out follows from the preset and the data."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from rnnfast.models.choices import CellChoice, Preset, WindowCell, WindowCellChoice
from rnnfast.models.config import ModelConfig
from rnnfast.models.window_config import WindowConfig
from rnnfast.training.settings import TrainingSettings, WindowTraining

PRESET = (
    "Where what is left out comes from: what measured best, or the model that people are taught."
)


class Request(BaseModel):
    """Settings of which all may be left out. `flows.steps.prepare.settings` says what they are then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decided: ClassVar[frozenset[str]] = frozenset()
    """Fields of the settings that nobody asks for here."""

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for, by field of the settings."""
        fields = type(self).settings.model_fields
        return {name: value for name, value in self if name in fields and value is not None}

    settings: ClassVar[type[BaseModel]]


Asked = TypeVar("Asked", bound=Request)


def asks_for(settings: type[BaseModel]) -> Callable[[type[Asked]], type[Asked]]:
    """Gives a request the fields of settings, each with its rule and None for what is left out."""

    def complete(request: type[Asked]) -> type[Asked]:
        fields: dict[str, Any] = {
            name: Annotated[
                field.annotation | None,  # type: ignore[operator]
                *field.metadata,
                Field(None, description=field.description),
            ]
            for name, field in settings.model_fields.items()
            if name not in request.model_fields and name not in request.decided
        }
        whole = create_model(
            request.__name__, __base__=request, __module__=request.__module__, **fields
        )
        whole.__doc__, whole.settings = request.__doc__, settings
        return whole

    return complete


@asks_for(ModelConfig)
class ReviewsModel(Request):
    """A classifier of texts."""

    # See `ReviewsData`, and `seeds` and `ensemble` of a training.
    decided = frozenset({"split_by", "members"})

    preset: Preset = Field("default", description=PRESET)
    cell: CellChoice = Field(
        "auto",
        description="The kind of model: rnn, gru, lstm, mlp, cnn or ngrams; auto: rnn with n-grams beside it, or "
        "n-grams alone, what is better on the validation rows.",
    )
    init: Path | None = Field(
        None,
        description="The folder of a language model, from `pretrain`, that word vectors and recurrent layers start "
        "from; the sizes and the vocabulary are its own.",
    )


@asks_for(TrainingSettings)
class ReviewsTraining(Request):
    """How a classifier of texts is trained."""


@asks_for(WindowConfig)
class SensorsModel(Request):
    """A model of windows of readings."""

    decided = frozenset({"task", "members"})  # see `SensorsData`, and likewise

    preset: Preset = Field("default", description=PRESET)
    cell: WindowCellChoice = Field(
        "auto",
        description="The kind of model: rnn, gru, lstm, linear, nlinear, dlinear, mlp, cnn, persistence, seasonal; "
        "auto: gru, or what stands beside it where that is better on the validation windows.",
    )

    @property
    def network(self) -> WindowCell:
        """The cell that is trained."""
        return "gru" if self.cell == "auto" else self.cell

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for, by field of the settings."""
        return super().asked | {"cell": self.network}


@asks_for(WindowTraining)
class SensorsTraining(Request):
    """How a model of windows is trained."""
