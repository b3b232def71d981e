"""Training of the models of ``rnnfast.models`` and ``rnnfast.window_models``, and what they predict.

The loop knows nothing of reviews or sensors: what it needs of the rows to learn from is ``Rows``.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rnnfast.models import NGrams, RecurrentClassifier, WordVectors, WordWeights
from rnnfast.series import Windows
from rnnfast.window_models import LinearAutoregression, WindowModel

# Batches that are cut from rows of like length: so many are sorted by length at a time.
_SORTED_BATCHES = 32


class LoopSettings(BaseModel):
    """How any model is trained. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(4, ge=1, le=1000, description="Passes over the training rows.")
    batch_size: int = Field(64, ge=1, description="Rows in a step.")
    learning_rate: float = Field(2e-3, gt=0, description="Of Adam; the peak of a schedule.")
    schedule: Literal["one-cycle", "constant"] = Field(
        "one-cycle", description="How the learning rate changes over the steps."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled, as AdamW has it.")
    clip: float = Field(1.0, gt=0, description="Largest norm of all gradients together.")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="Decay of a moving average of the weights; 0: none."
    )
    patience: int = Field(
        0, ge=0, description="Stop after so many epochs without a new best one; 0: never."
    )
    regularization: float = Field(0.1, gt=0, description="Strength of a linear model's L2 penalty.")
    seed: int = Field(0, ge=0, description="Of weights, order and dropout.")


class TrainingSettings(LoopSettings):
    """How a model of reviews is trained."""

    vector_learning_rate: float = Field(
        0.02, gt=0, description="Of word vectors and weights, as learning_rate."
    )
    vector_epsilon: float = Field(
        1e-5, gt=0, description="Adam's epsilon for these: damps those of rare words."
    )


class WindowTraining(LoopSettings):
    """How a model of windows of readings is trained."""

    loss: Literal["mse", "mae", "huber"] = Field(
        "mse", description="Of a forecast, in standard deviations of the channel."
    )
    stride: int = Field(
        0,
        ge=0,
        description="Every so many readings a training window starts; 0: at each to forecast, after "
        "half a window to classify.",
    )


class Rows(Protocol):
    """What the training loop needs of the rows to learn from, or to choose the epoch by."""

    unit: str
    """What the rows are made of, in the plural; the history has its number a second."""
    chosen_by: tuple[str, int]
    """The figure of ``measure`` that chooses the epoch, and 1 where more of it is better, else -1."""

    @property
    def units(self) -> int:
        """How many of these all rows have together."""

    def __len__(self) -> int: ...

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
        """Every row once, by number, so many at a time, in an order of its own each time."""

    def loss(self, model: Any, rows: Tensor) -> Tensor:
        """The mean loss of a model on these rows."""

    def measure(self, model: Any) -> dict[str, float]:
        """Figures over all rows, ``loss`` among them; the model may be in either mode."""


@dataclass(frozen=True)
class Reviews:
    """Labelled rows: ids (N, L) int32, lengths (N,) int64, labels (N,) of 0 and 1."""

    ids: Tensor
    lengths: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.ids.ndim != 2 or self.lengths.shape != (n,) or self.labels.shape != (n,):
            shapes = [tuple(t.shape) for t in (self.ids, self.lengths, self.labels)]
            raise ValueError(f"ids, lengths, labels must be (N, L), (N,), (N,), got: {shapes}")
        if n == 0:
            raise ValueError("ids must hold at least one row, got none")
        if not torch.isin(self.labels, torch.tensor([0, 1], dtype=self.labels.dtype)).all():
            raise ValueError(f"labels must be 0 or 1, got: {self.labels.unique().tolist()}")

    unit = "tokens"
    chosen_by = ("accuracy", 1)

    @property
    def units(self) -> int:
        """The words of all texts."""
        return int(self.lengths.sum())

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
        """Random batches of like length, which leaves little padding to pool."""
        order = torch.randperm(len(self), generator=shuffle)
        batches: list[Tensor] = []
        for pool in order.split(size * _SORTED_BATCHES):
            batches += pool[self.lengths[pool].argsort(stable=True)].split(size)
        for i in torch.randperm(len(batches), generator=shuffle).tolist():
            yield batches[i]

    def loss(self, model: nn.Module, rows: Tensor) -> Tensor:
        """Cross entropy in nats."""
        logits = model(self.ids[rows], self.lengths[rows])
        return F.binary_cross_entropy_with_logits(logits, self.labels[rows].float())

    def measure(self, model: nn.Module) -> dict[str, float]:
        """``loss`` in nats and ``accuracy``."""
        scores = predict(model, self.ids, self.lengths).astype(np.float64)
        probability = np.clip(scores, 1e-7, 1 - 1e-7)
        label = self.labels.numpy()
        return {
            "loss": float(-np.log(np.where(label == 1, probability, 1 - probability)).mean()),
            "accuracy": float(((probability >= 0.5) == label).mean()),
        }


class _WindowRows:
    """What windows to forecast and windows to classify have in common."""

    unit = "readings"

    def __init__(self, windows: Windows, size: int) -> None:
        """``size`` is the number of readings of a window that the model reads."""
        if len(windows) == 0:
            raise ValueError("windows must be at least one, got none")
        self.windows = windows
        self.units = len(windows) * size

    def __len__(self) -> int:
        return len(self.windows)

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
        """Random batches."""
        yield from torch.randperm(len(self), generator=shuffle).split(size)


class Futures(_WindowRows):
    """Windows of readings to forecast from, each with the readings that come after."""

    chosen_by = ("loss", -1)

    def __init__(self, windows: Windows, model: WindowModel, kind: str = "mse") -> None:
        """``windows`` have the readings that the model reads and those that it foretells.

        ``kind`` is the loss, a value of ``WindowTraining.loss``.
        """
        super().__init__(windows, model.config.lookback)
        self.targets, self.past, self.kind = model.targets, model.config.lookback, kind

    def loss(self, model: WindowModel, rows: Tensor) -> Tensor:
        """The loss of the forecasts, and the pinball loss of their quantiles, if they have some."""
        taken = self.windows.take(rows)
        return self._loss(model, model(taken[:, : self.past]), taken)

    def measure(self, model: WindowModel) -> dict[str, float]:
        """``loss``: the mean of what training makes small."""
        total = 0.0
        for rows, forecast in forecasts(model, self.windows):
            total += self._loss(model, forecast, self.windows.take(rows)).item() * len(rows)
        return {"loss": total / len(self)}

    def _loss(self, model: WindowModel, forecast: Tensor, taken: Tensor) -> Tensor:
        truth = model.standardised(taken[:, self.past :])[..., self.targets]
        return model.loss(forecast, truth, self.kind)


class LabelledWindows(_WindowRows):
    """Windows of readings, each with its label; labels are those of their runs (R,) int64."""

    chosen_by = ("accuracy", 1)

    def __init__(self, windows: Windows, labels: Tensor) -> None:
        super().__init__(windows, windows.size)
        self.labels = labels

    def loss(self, model: WindowModel, rows: Tensor) -> Tensor:
        """Cross entropy in nats."""
        labels = self.labels[self.windows.run_of(rows)]
        return F.cross_entropy(model(self.windows.take(rows)), labels)

    def measure(self, model: WindowModel) -> dict[str, float]:
        """``loss`` in nats and ``accuracy``."""
        loss, right = 0.0, 0
        for rows, logits in forecasts(model, self.windows):
            labels = self.labels[self.windows.run_of(rows)]
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(1) == labels).sum())
        return {"loss": loss / len(self), "accuracy": right / len(self)}


@dataclass(frozen=True)
class Progress:
    """Where training stands: rows done of all epochs' rows, and the mean loss of this epoch."""

    epoch: int  # from 1
    rows_done: int
    rows_total: int
    loss: float


class DivergedError(ArithmeticError):
    """The loss or its gradient is no longer a finite number."""


def fit(
    model: nn.Module,
    train: Rows,
    validation: Rows | None,
    settings: LoopSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[dict[str, Any]]:
    """Train the model in place; with validation rows, keep the weights of its best epoch.

    Args:
        model: from ``build_model`` or ``build_window_model``; it is left in evaluation mode.
        train: rows to learn from; of ``Reviews`` both labels must occur.
        validation: rows to choose the epoch by: the highest accuracy, or the lowest error of
            forecasts, the later of equals. None keeps the last epoch.
        settings: the same settings, model and rows give the same weights, bit for bit, at the
            same number of threads. torch's global random state is left as it was.
        on_progress: called after every step.

    Returns one dict an epoch: ``epoch`` (from 1), ``loss`` (mean over the rows), ``seconds`` and
    ``tokens_per_second`` or ``readings_per_second`` of training alone, and, with validation rows,
    ``validation_loss``, and ``validation_accuracy`` of classifiers.

    Raises ValueError where only one label occurs, and DivergedError where the loss or its
    gradient is no longer finite.
    """
    if isinstance(train, Reviews) and len(present := train.labels.unique().tolist()) < 2:
        raise ValueError(f"labels must hold both 0 and 1, got only: {present[0]}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        solve = _SOLVED.get(type(model))
        if solve or not any(p.requires_grad for p in model.parameters()):
            history = [_solved(solve, model, train, validation, settings)]
            if on_progress:
                on_progress(Progress(1, len(train), len(train), history[0]["loss"]))
        else:
            if (
                isinstance(model, RecurrentClassifier)
                and model.words
                and isinstance(train, Reviews)
            ):
                model.words.start(_parts(train))
            history = _fit_by_steps(model, train, validation, settings, on_progress)
    model.eval()
    return history


def forecasts(
    model: WindowModel, windows: Windows, batch_size: int = 256
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a model of windows says of all of them, in order: numbers (N,) and outputs (N, ...)."""
    was_training = model.training
    model.eval()
    try:
        for step, rows in enumerate(windows.batches(batch_size)):
            _release_memory(step)
            # Left before each yield: the mode would hold for whoever takes the outputs.
            with torch.inference_mode():
                output = model(windows.take(rows)[:, : model.config.lookback])
            yield rows, output
    finally:
        model.train(was_training)


def predict(model: nn.Module, ids: Tensor, lengths: Tensor, batch_size: int = 256) -> np.ndarray:
    """Probabilities (N,) float32 of label 1, for ids (N, L) and lengths (N,).

    The rows are scored in the order of their lengths, so that little padding is read.
    """
    order = lengths.argsort(stable=True)
    result = np.empty(len(ids), np.float32)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for step, rows in enumerate(order.split(batch_size) if len(order) else ()):
                _release_memory(step)
                result[rows.numpy()] = model(ids[rows], lengths[rows]).sigmoid().numpy()
    finally:
        model.train(was_training)
    return result


def _parts(texts: Reviews) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids (N, L) and labels (N,) of all texts, some thousands at a time."""
    for rows in torch.arange(len(texts)).split(4096):
        yield texts.ids[rows], texts.labels[rows]


def _fit_by_steps(
    model: nn.Module,
    train: Rows,
    validation: Rows | None,
    settings: LoopSettings,
    on_progress: Callable[[Progress], None] | None,
) -> list[dict[str, Any]]:
    shuffle = torch.Generator().manual_seed(settings.seed)
    optimizer = _optimizer(model, settings)
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    schedule = _schedule(optimizer, settings, steps)
    average = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.averaging))
        if settings.averaging
        else None
    )
    history: list[dict[str, Any]] = []
    best_score, best_epoch, best_state = -math.inf, 0, model.state_dict()
    rows_done = step = 0
    for epoch in range(1, settings.epochs + 1):
        started = time.perf_counter()
        model.train()
        loss_sum = 0.0
        epoch_rows = 0
        for rows in train.batches(settings.batch_size, shuffle):
            loss = train.loss(model, rows)
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            step += 1
            _release_memory(step)
            if not (loss.isfinite() and norm.isfinite()):
                raise DivergedError(
                    f"training diverged in epoch {epoch}, step {step} of {steps}, at learning rate "
                    f"{schedule.get_last_lr()[0]:.3g}: loss {loss.item()}, gradient norm "
                    f"{norm.item()}; a lower learning_rate may help"
                )
            optimizer.step()
            schedule.step()
            if average:
                average.update_parameters(model)
            loss_sum += loss.item() * len(rows)
            epoch_rows += len(rows)
            rows_done += len(rows)
            if on_progress:
                total = settings.epochs * len(train)
                on_progress(Progress(epoch, rows_done, total, loss_sum / epoch_rows))
        seconds = time.perf_counter() - started
        history.append(
            {
                "epoch": epoch,
                "loss": loss_sum / len(train),
                "seconds": seconds,
                f"{train.unit}_per_second": train.units / seconds,
            }
        )
        current = average.module if average else model
        # Without validation rows the last epoch counts as the best.
        score: float = epoch
        if validation is not None:
            history[-1].update(_validated(current, validation))
            figure, sign = validation.chosen_by
            score = sign * history[-1][f"validation_{figure}"]
        if score >= best_score:
            best_score, best_epoch = score, epoch
            best_state = copy.deepcopy(current.state_dict())
        elif settings.patience and epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(best_state)
    return history


def _release_memory(step: int) -> None:
    """Every so many steps, gives the pages of freed tensors back to the system.

    Before version 2.38 glibc cannot fill again the holes that aligned blocks, which tensors are,
    leave between smaller ones; a long training would grow by gigabytes. Other C libraries have no
    such function, nor the need of it.
    """
    if step % 16 == 0:
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def _optimizer(model: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW; in a model of reviews with a step size and an epsilon of their own for what each word has.

    Adam divides by the size of the gradients so far, so a word that occurs once moves as far as
    one that occurs in every batch, and is soon known by heart. With an epsilon above the size of
    such gradients its step is in proportion to what was seen of it.
    """
    by_word = WordVectors | WordWeights
    vectors = [p for m in model.modules() if isinstance(m, by_word) for p in m.parameters()]
    others = [p for p in model.parameters() if all(p is not v for v in vectors)]
    groups: list[dict[str, Any]] = [{"params": others, "lr": settings.learning_rate}]
    if isinstance(settings, TrainingSettings):
        groups.append(
            {
                "params": vectors,
                "lr": settings.vector_learning_rate,
                "eps": settings.vector_epsilon,
            }
        )
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: LoopSettings, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle: a linear rise over the first tenth, then half a cosine down to nothing."""

    def factor(step: int) -> float:
        if settings.schedule == "constant":
            return 1.0
        rise = max(1, steps // 10)
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _validated(model: nn.Module, rows: Rows) -> dict[str, float]:
    return {f"validation_{name}": value for name, value in rows.measure(model).items()}


def _solved(
    solve: Callable[[Any, Any, Any], None] | None,
    model: nn.Module,
    train: Rows,
    validation: Rows | None,
    settings: LoopSettings,
) -> dict[str, Any]:
    """The history of a model that is not trained by steps, but solved at once or knows nothing."""
    started = time.perf_counter()
    if solve:
        solve(model, train, settings)
    seconds = time.perf_counter() - started
    result = {
        "epoch": 1,
        "loss": train.measure(model)["loss"],
        "seconds": seconds,
        f"{train.unit}_per_second": train.units / max(seconds, 1e-9),
    }
    return result | (_validated(model, validation) if validation is not None else {})


def _solve_ngrams(model: NGrams, train: Reviews, settings: LoopSettings) -> None:
    """Logistic regression on log-count ratios of distinct words and pairs.

    Wang and Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification"
    (2012), with the L2 norm of each text's features set to one.
    """
    # Needed by this model alone and slow to import.
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    model.learn_pairs(train.ids, train.lengths)
    rows, columns = (t.numpy() for t in model.features(train.ids, train.lengths))
    labels = train.labels.numpy()
    size = len(model.scale)
    ratio = np.zeros(size)
    for label, sign in ((1, 1), (0, -1)):
        count = 1 + np.bincount(columns[labels[rows] == label], minlength=size)
        ratio += sign * np.log(count / count.sum())
    matrix = normalize(csr_matrix((ratio[columns], (rows, columns)), shape=(len(train), size)))
    regression = LogisticRegression(
        C=1 / settings.regularization,
        solver="liblinear",
        dual=True,
        random_state=settings.seed,
    ).fit(matrix, labels)
    model.scale.copy_(torch.from_numpy(ratio))
    model.weight.copy_(torch.from_numpy(regression.coef_[0]))
    model.bias.fill_(float(regression.intercept_[0]))


def _solve_autoregression(
    model: LinearAutoregression, train: Futures, settings: LoopSettings
) -> None:
    """Least squares of each step ahead on the lags, a channel at a time, by the normal equations.

    The penalty is ``regularization`` on the squares of the weights, beside the sum over windows.
    """
    lags, steps, targets = model.config.lookback, model.config.horizon, len(model.targets)
    gram = torch.zeros(targets, lags + 1, lags + 1, dtype=torch.float64)
    moment = torch.zeros(targets, lags + 1, steps, dtype=torch.float64)
    for numbers in train.windows.batches(4096 // targets + 1):
        taken = model.standardised(train.windows.take(numbers))[..., model.targets]
        past, offset, factor = model.anchored(taken[:, :lags])
        future = (taken[:, lags:] - offset) / factor
        x = F.pad(past, (0, 0, 0, 1), value=1.0).permute(2, 0, 1).double()
        gram += x.transpose(1, 2) @ x
        moment += x.transpose(1, 2) @ future.permute(2, 0, 1).double()
    penalty = torch.full((lags + 1,), settings.regularization, dtype=torch.float64)
    penalty[-1] = 1e-9 * len(train)  # the constant's; above zero where the lags explain it
    solution = torch.linalg.solve(gram + torch.diag(penalty), moment)
    model.weight.copy_(solution[:, :-1])
    model.bias.copy_(solution[:, -1])


_SOLVED: dict[type[nn.Module], Callable[[Any, Any, Any], None]] = {
    NGrams: _solve_ngrams,
    LinearAutoregression: _solve_autoregression,
}
