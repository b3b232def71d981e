"""A training as a file can say it: what is trained, on which rows, how. Any process can begin it."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file
from torch import nn

import rnnfast
from flows.errors import InputError
from flows.steps.prepare.encode import IDS, mapped, open_encoded
from rnnfast.labels.target import Target
from rnnfast.models.config import ModelConfig
from rnnfast.models.language import build_language_model, start_from
from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.texts import PAIR, build_model
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.window_model import WindowModel
from rnnfast.models.windows import build_window_model
from rnnfast.series.scaling import Scaler
from rnnfast.training.rows import Futures, LabelledWindows, Rows
from rnnfast.training.run_folder import WEIGHTS, SeriesInfo
from rnnfast.training.settings import LoopSettings, TrainingSettings, WindowTraining
from rnnfast.training.streams import TextStream

TRAIN_PART, VALIDATION_PART = "train", "validation"  # parts of a job's data
_COUNTED = 1 << 24  # ids that are counted at a time


class _Job(BaseModel):
    model_config = ConfigDict(frozen=True)

    parts: Path
    data_digest: str

    @property
    def key(self) -> str:
        """Tells this training from others: a digest of data, model, settings and code."""
        # Means and deviations follow from the data, up to the last bit, which not all machines agree about.
        parts = self.model_dump(mode="json", exclude={"parts", "mean", "scale", "init"})
        content = json.dumps(parts | {"torch": torch.__version__}, sort_keys=True)
        digest = hashlib.sha256(content.encode())
        for path in sorted(Path(rnnfast.__file__).parent.rglob("*")):
            if path.suffix in (".py", ".so"):
                digest.update(path.read_bytes())
        return digest.hexdigest()


class ReviewsJob(_Job):
    """A model of reviews, on what `encode` left in a folder of each part below `parts`.

    `init` is the folder of the language model that it starts from, whose weights are part of the data's digest.
    """

    kind: Literal["reviews"] = "reviews"
    model: ModelConfig
    training: TrainingSettings
    vocabulary_size: int
    target: Target = PAIR
    init: Path | None = None

    def begin(self) -> tuple[nn.Module, Rows, Rows]:
        """The untrained model, the rows to learn from, and those to choose the epoch by."""
        outputs = self.target.outputs
        model = build_model(self.model, self.vocabulary_size, self.training.seed, outputs)
        if self.init is not None:
            start_from(model, load_file(self.init / WEIGHTS))
        balanced = self.training.class_weights == "balanced"
        train = open_encoded(self.parts / TRAIN_PART, self.model, self.target, balanced)
        validation = open_encoded(self.parts / VALIDATION_PART, self.model, self.target)
        return model, train, validation


class LanguageJob(_Job):
    """A language model, on what `encode_corpus` left in a folder of each part below `parts`."""

    kind: Literal["language"] = "language"
    model: LanguageConfig
    training: LoopSettings
    vocabulary_size: int

    def begin(self) -> tuple[nn.Module, Rows, Rows]:
        """As of `ReviewsJob`; the model knows from the start how frequent each word is."""
        size, settings = self.vocabulary_size, self.training
        model = build_language_model(self.model, size, settings.seed, settings.batch_size)
        ids = [
            mapped(self.parts / part / IDS, torch.int32) for part in (TRAIN_PART, VALIDATION_PART)
        ]
        counts = torch.zeros(size, dtype=torch.int64)
        for some in ids[0].split(_COUNTED):
            counts += torch.bincount(some, minlength=size)
        with torch.no_grad():
            model.output.bias.copy_((counts + 1).double().log() - (counts + 1).sum().double().log())
        train, validation = (TextStream(each, self.model.window, settings.seed) for each in ids)
        return model, train, validation


class WindowsJob(_Job):
    """A model of windows of readings, on what `prepare_series` left in `parts`."""

    kind: Literal["windows"] = "windows"
    model: WindowConfig
    training: WindowTraining
    series: SeriesInfo
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    target: Target | None = None

    def begin(self) -> tuple[WindowModel, Rows, Rows | None]:
        """As of `ReviewsJob`; there may be no validation part.

        Raises:
            InputError: the model does not fit the data.
        """
        info = self.series
        outputs = self.target.window_outputs if self.target else 0
        shape = len(info.channels), info.target_places, outputs
        try:
            model = build_window_model(self.model, *shape, self.training.seed)
        except ValueError as error:
            raise InputError(f"--set: {error}") from error
        model.set_scaler(Scaler(np.array(self.mean), np.array(self.scale)))
        rows = self._rows(TRAIN_PART, model, self.training.stride)
        assert rows is not None
        return model, rows, self._rows(VALIDATION_PART, model, 0)

    def _rows(self, part: str, model: WindowModel, stride: int) -> Futures | LabelledWindows | None:
        # Slow to import, and not needed by the workers of other jobs.
        from flows.steps.prepare.series import part_windows

        found = part_windows(self.parts, part, self.model, stride)
        if found is None:
            return None
        windows, truth, _ = found
        if self.target is not None:
            balanced = part == TRAIN_PART and self.training.class_weights == "balanced"
            weights = self.target.weights(truth.numpy()) if balanced else None
            of_classes = None if weights is None else torch.from_numpy(weights).float()
            return LabelledWindows(windows, truth, self.target, of_classes)
        return Futures(windows, model, self.training.loss)


TrainingJob = Annotated[ReviewsJob | WindowsJob | LanguageJob, Field(discriminator="kind")]
