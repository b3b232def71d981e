"""Training of the classifiers of ``rnnfast.models``, and their probabilities."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rnnfast.models import NGrams, WordVectors

# Batches that are cut from rows of like length: so many are sorted by length at a time.
_SORTED_BATCHES = 32


class TrainingSettings(BaseModel):
    """How a model is trained. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(4, ge=1, le=1000, description="Passes over the training rows.")
    batch_size: int = Field(64, ge=1, description="Rows in a step.")
    learning_rate: float = Field(2e-3, gt=0, description="Of Adam; the peak of a schedule.")
    vector_learning_rate: float = Field(0.02, gt=0, description="Of the word vectors, likewise.")
    vector_epsilon: float = Field(
        1e-5, gt=0, description="Adam's epsilon for the word vectors: damps those of rare words."
    )
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
    regularization: float = Field(0.1, gt=0, description="Strength of ngrams' L2 penalty.")
    seed: int = Field(0, ge=0, description="Of weights, order and dropout.")


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

    def __len__(self) -> int:
        return len(self.ids)


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
    train: Reviews,
    validation: Reviews | None,
    settings: TrainingSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[dict[str, Any]]:
    """Train the model in place; with validation rows, keep the weights of its best epoch.

    Args:
        model: from ``build_model``; it is left in evaluation mode.
        train: rows to learn from; both labels must occur.
        validation: rows to choose the epoch by: the highest accuracy, the later of equals.
            None keeps the last epoch.
        settings: the same settings, model and rows give the same weights, bit for bit, at the
            same number of threads. torch's global random state is left as it was.
        on_progress: called after every step.

    Returns one dict an epoch: ``epoch`` (from 1), ``loss`` (mean, nats a row), ``seconds`` and
    ``tokens_per_second`` of training alone, and, with validation rows, ``validation_loss`` and
    ``validation_accuracy``.

    Raises ValueError where only one label occurs, and DivergedError where the loss or its
    gradient is no longer finite.
    """
    present = train.labels.unique().tolist()
    if len(present) < 2:
        raise ValueError(f"labels must hold both 0 and 1, got only: {present[0]}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if isinstance(model, NGrams):
            history = [_fit_ngrams(model, train, validation, settings)]
            if on_progress:
                on_progress(Progress(1, len(train), len(train), history[0]["loss"]))
        else:
            history = _fit_by_steps(model, train, validation, settings, on_progress)
    model.eval()
    return history


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


def _fit_by_steps(
    model: nn.Module,
    train: Reviews,
    validation: Reviews | None,
    settings: TrainingSettings,
    on_progress: Callable[[Progress], None] | None,
) -> list[dict[str, Any]]:
    shuffle = torch.Generator().manual_seed(settings.seed)
    labels = train.labels.float()
    optimizer = _optimizer(model, settings)
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    schedule = _schedule(optimizer, settings, steps)
    average = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.averaging))
        if settings.averaging
        else None
    )
    history: list[dict[str, Any]] = []
    best_accuracy, best_epoch, best_state = -1.0, 0, model.state_dict()
    rows_done = step = 0
    for epoch in range(1, settings.epochs + 1):
        started = time.perf_counter()
        model.train()
        loss_sum = 0.0
        epoch_rows = 0
        for rows in _batches(train.lengths, settings.batch_size, shuffle):
            loss = F.binary_cross_entropy_with_logits(
                model(train.ids[rows], train.lengths[rows]), labels[rows]
            )
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
                "tokens_per_second": int(train.lengths.sum()) / seconds,
            }
        )
        current = average.module if average else model
        if validation is not None:
            history[-1].update(_validate(current, validation))
        # Without validation rows the last epoch counts as the best.
        accuracy = history[-1].get("validation_accuracy", epoch)
        if accuracy >= best_accuracy:
            best_accuracy, best_epoch = accuracy, epoch
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


def _optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW, with a step size and an epsilon of their own for the word vectors.

    Adam divides by the size of the gradients so far, so a word that occurs once moves as far as
    one that occurs in every batch, and is soon known by heart. With an epsilon above the size of
    such gradients its step is in proportion to what was seen of it.
    """
    vectors = [p for m in model.modules() if isinstance(m, WordVectors) for p in m.parameters()]
    others = [p for p in model.parameters() if all(p is not v for v in vectors)]
    groups = [
        {"params": others, "lr": settings.learning_rate},
        {
            "params": vectors,
            "lr": settings.vector_learning_rate,
            "eps": settings.vector_epsilon,
        },
    ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int
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


def _batches(lengths: Tensor, size: int, shuffle: torch.Generator) -> Iterator[Tensor]:
    """Every row once, in random batches of like length, which leaves little padding to pool."""
    order = torch.randperm(len(lengths), generator=shuffle)
    batches: list[Tensor] = []
    for pool in order.split(size * _SORTED_BATCHES):
        batches += pool[lengths[pool].argsort(stable=True)].split(size)
    for i in torch.randperm(len(batches), generator=shuffle).tolist():
        yield batches[i]


def _validate(model: nn.Module, rows: Reviews) -> dict[str, float]:
    probability = np.clip(predict(model, rows.ids, rows.lengths).astype(np.float64), 1e-7, 1 - 1e-7)
    label = rows.labels.numpy()
    return {
        "validation_loss": float(
            -np.log(np.where(label == 1, probability, 1 - probability)).mean()
        ),
        "validation_accuracy": float(((probability >= 0.5) == label).mean()),
    }


def _fit_ngrams(
    model: NGrams, train: Reviews, validation: Reviews | None, settings: TrainingSettings
) -> dict[str, Any]:
    """Logistic regression on log-count ratios of distinct words and pairs.

    Wang and Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification"
    (2012), with the L2 norm of each text's features set to one.
    """
    # Needed by this model alone and slow to import.
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    started = time.perf_counter()
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
    seconds = time.perf_counter() - started
    result = {
        "epoch": 1,
        "loss": _validate(model, train)["validation_loss"],
        "seconds": seconds,
        "tokens_per_second": int(train.lengths.sum()) / seconds,
    }
    return result | (_validate(model, validation) if validation is not None else {})
