"""Training of the models of ``rnnfast.models.texts`` and ``rnnfast.models.windows``.

The loop knows nothing of reviews or sensors: what it needs of the rows to learn from is ``Rows``. It can
be shared by several processes, and go on from a checkpoint after it was killed.
"""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rnnfast.models.language import LanguageModel
from rnnfast.models.precision import CPU, computing, device_of
from rnnfast.models.texts import RecurrentClassifier, WideAndDeep, WordVectors, WordWeights
from rnnfast.nn.layers import Recurrent
from rnnfast.training.ahead import ahead
from rnnfast.training.checkpoint import Checkpoint, TrainingState
from rnnfast.training.rows import LabelledWindows, Reviews, Rows, TakenRows
from rnnfast.training.settings import LoopSettings, TrainingSettings
from rnnfast.training.solvers import SOLVERS
from rnnfast.training.weighing import weigh
from rnnfast.training.workers import ALONE, Workers


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
    checkpoint: Checkpoint | None = None,
    workers: Workers = ALONE,
    device: torch.device = CPU,
) -> list[dict[str, Any]]:
    """Train the model in place; with validation rows, keep the weights of its best epoch.

    Args:
        model: from ``build_model`` or ``build_window_model``; it is left in evaluation mode.
        train: rows to learn from; of ``Reviews`` at least two labels must occur.
        validation: rows to choose the epoch by: the highest accuracy, or the lowest error of
            forecasts, the later of equals. None keeps the last epoch.
        settings: the same settings, model and rows give the same weights, bit for bit, at the
            same number of threads. torch's global random state is left as it was.
        on_progress: called after every step.
        checkpoint: where training writes how far it is, at each epoch's end and within it, and goes
            on from where it was killed, with the same weights as if it had not been.
        workers: this process among those that train this model together, each of which calls this
            with equal arguments. A batch is shared by all; each ends with the same weights, which
            are those of one process but for the rounding of sums.
        device: where the steps are computed; the model is on the CPU before and after.

    Returns one dict an epoch: ``epoch`` (from 1), ``loss`` (mean over the rows), ``seconds`` and
    ``tokens_per_second`` or ``readings_per_second`` of training alone, and, with validation rows,
    ``validation_loss``, and ``validation_accuracy`` of classifiers.

    Raises ValueError where all labels are the same, DivergedError where the loss or its gradient is no
    longer finite, and CheckpointError where the checkpoint is broken or that of another training.
    """
    if isinstance(train, Reviews | LabelledWindows):
        truth = train.labels if isinstance(train, Reviews) else train.truth
        train.target.require_trainable(truth.numpy())
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        torch.manual_seed(settings.seed)
        if isinstance(model, WideAndDeep) and isinstance(train, Reviews):
            if workers.rank == 0:
                _solved(model.wide, train, None, settings)
            workers.take_over(model.wide)
            model.deep.to(device)
            history = _by_steps(
                model.deep, train, validation, settings, on_progress, checkpoint, workers
            )
            if isinstance(validation, Reviews):
                weigh(model, validation, workers)
        elif trained_by_steps(model):
            model.to(device)
            history = _by_steps(
                model, train, validation, settings, on_progress, checkpoint, workers
            )
        else:
            history = [_solved(model, train, validation, settings)]
            if on_progress:
                on_progress(Progress(1, len(train), len(train), history[0]["loss"]))
    model.cpu().eval()
    return history


def _by_steps(
    model: nn.Module,
    train: Rows,
    validation: Rows | None,
    settings: LoopSettings,
    on_progress: Callable[[Progress], None] | None,
    checkpoint: Checkpoint | None,
    workers: Workers,
) -> list[dict[str, Any]]:
    """The history of a training by steps."""
    if isinstance(model, RecurrentClassifier) and model.words and isinstance(train, Reviews):
        model.words.start(_parts(train), train.target)
    return _Loop(model, train, validation, settings, workers).run(on_progress, checkpoint)


def _parts(texts: Reviews) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids (N, L) and labels (N,) of all texts, some thousands at a time."""
    for rows in torch.arange(len(texts)).split(4096):
        yield texts.take(rows)[0], texts.labels[rows]


def trained_by_steps(model: nn.Module) -> bool:
    """Whether ``fit`` trains a model by steps; else it is solved at once, or has nothing to learn."""
    return type(model) not in SOLVERS and any(p.requires_grad for p in model.parameters())


class _Loop:
    """A training by steps: its parts, and all that changes from one step to the next."""

    def __init__(
        self,
        model: nn.Module,
        train: Rows,
        validation: Rows | None,
        settings: LoopSettings,
        workers: Workers,
    ) -> None:
        self.model, self.train, self.validation = model, train, validation
        self.device = device_of(model)
        self.settings, self.workers = settings, workers
        self.steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
        self.optimizer = _optimizer(model, settings)
        self.average = (
            AveragedModel(model, multi_avg_fn=_moving_average(settings.averaging))
            if settings.averaging
            else None
        )
        self.shuffle = torch.Generator().manual_seed(settings.seed)
        self.epoch_order = self.shuffle.get_state()  # before the order of this epoch was drawn
        self.history: list[dict[str, Any]] = []
        self.best_epoch, self.best_weights = 0, dict[str, Tensor]()
        self.step = 0
        # Of the epoch under way:
        self.batches = self.rows = 0
        self.loss_sum = self.seconds = 0.0
        self.written = time.monotonic()

    def run(
        self, on_progress: Callable[[Progress], None] | None, checkpoint: Checkpoint | None
    ) -> list[dict[str, Any]]:
        """All epochs that are left; returns the history of all."""
        self._start(checkpoint)
        if checkpoint and not self.workers.writes:
            checkpoint = None
        with computing(self.model, self.settings.precision):
            while not self._finished():
                self._run_epoch(on_progress, checkpoint)
                self._end_epoch()
                if checkpoint:
                    self._write(checkpoint)
        self.model.load_state_dict(self.best_weights)
        return self.history

    def _start(self, checkpoint: Checkpoint | None) -> None:
        """At the newest checkpoint that a worker has, or else at the first worker's weights."""
        saved = None
        if checkpoint:
            data = checkpoint.read()
            saved = checkpoint.parsed(data)
            age = saved.record["step"] if saved else 0
            saved = checkpoint.parsed(self.workers.newest(data, age))
        if saved:
            self._restore(saved)
        else:
            self.workers.take_over(self.model)

    def _finished(self) -> bool:
        done, patience = len(self.history), self.settings.patience
        return done == self.settings.epochs or bool(patience and done - self.best_epoch >= patience)

    def _run_epoch(
        self, on_progress: Callable[[Progress], None] | None, checkpoint: Checkpoint | None
    ) -> None:
        """The steps that are left of an epoch."""
        before, started = self.seconds, time.perf_counter()
        self.model.train()
        total = self.settings.epochs * len(self.train)
        batches = self.train.batches(self.settings.batch_size, self.shuffle)
        left = islice(batches, self.batches, None)
        for rows, batch in ahead(left, self._taken, self.device):
            self.loss_sum += self._take_step(rows, batch) * len(rows)
            self.batches += 1
            self.rows += len(rows)
            self.seconds = before + time.perf_counter() - started
            if on_progress:
                done = len(self.history) * len(self.train) + self.rows
                epoch = len(self.history) + 1
                on_progress(Progress(epoch, done, total, self.loss_sum / self.rows))
            if checkpoint and time.monotonic() - self.written >= checkpoint.seconds:
                self._write(checkpoint)

    def _taken(self, rows: Tensor) -> TakenRows:
        """This worker's share of a batch, where the model is."""
        return self.train.taken(rows, self.workers.share(len(rows))[0], self.device)

    def _take_step(self, rows: Tensor, batch: TakenRows) -> float:
        """One step of the optimizer; returns the mean loss over the batch."""
        _, weight = self.workers.share(len(rows))
        with self.workers.noise_of(len(rows)):
            own_loss = self.train.loss(self.model, batch) * weight
        self.optimizer.zero_grad()
        own_loss.backward()
        loss = self.workers.add_up_gradients(self.model, own_loss)
        if isinstance(self.model, LanguageModel):
            self.workers.share_rows(self.model.carried, len(rows))
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        factor = _rate_factor(self.settings, self.step, self.steps)
        self.step += 1
        if not (loss.isfinite() and norm.isfinite()):
            raise DivergedError(
                f"training diverged in epoch {len(self.history) + 1}, step {self.step} of "
                f"{self.steps}, at learning rate {self.settings.learning_rate * factor:.3g}: loss "
                f"{loss.item()}, gradient norm {norm.item()}; a lower learning_rate may help"
            )
        for group in self.optimizer.param_groups:
            learns = len(self.history) >= group["from_epoch"]
            group["lr"] = group["initial_lr"] * factor if learns else 0.0
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.model)
        return loss.item()

    def _end_epoch(self) -> None:
        """Measures the epoch, and keeps its weights where it is the best so far."""
        entry: dict[str, Any] = {
            "epoch": len(self.history) + 1,
            "loss": self.loss_sum / len(self.train),
            "seconds": self.seconds,
            f"{self.train.unit}_per_second": self.train.units / self.seconds,
        }
        current = self.average.module if self.average else self.model
        if self.validation is not None:
            # The moving average is another model, whose layers compute in what they are told by themselves.
            precision = "fp32" if current is self.model else self.settings.precision
            with computing(current, precision):
                entry |= _validated(current, self.validation, self.workers)
        self.history.append(entry)
        if self.validation is None or self._is_best(self.validation):
            self.best_epoch = entry["epoch"]
            self.best_weights = copy.deepcopy(current.state_dict())
        self.epoch_order = self.shuffle.get_state()
        self.batches = self.rows = 0
        self.loss_sum = self.seconds = 0.0

    def _is_best(self, validation: Rows) -> bool:
        """Whether no epoch was better than the last one, which may not be a number."""
        figure, sign = validation.chosen_by
        scores = [sign * entry[f"validation_{figure}"] for entry in self.history]
        best = scores[self.best_epoch - 1] if self.best_epoch else -math.inf
        return bool(scores[-1] >= best)

    def _write(self, checkpoint: Checkpoint) -> None:
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "best": self.best_weights,
            "random": {"global": torch.get_rng_state(), "shuffle": self.epoch_order}
            | self._drawn(),
            "optimizer": {
                f"{place}.{name}": tensor
                for place, state in self.optimizer.state_dict()["state"].items()
                for name, tensor in state.items()
            },
        }
        tensors = {
            f"{part}.{name}": tensor.cpu()
            for part, own in parts.items()
            for name, tensor in own.items()
        }
        record = {name: getattr(self, name) for name in _RECORD}
        checkpoint.write(TrainingState(tensors, record))
        self.written = time.monotonic()

    def _drawn(self) -> dict[str, Tensor]:
        """The state of the GPU's random numbers, which the noise of training there is drawn from."""
        if self.device.type != "cuda":
            return {}
        return {"cuda": torch.cuda.get_rng_state(self.device)}

    def _restore(self, saved: TrainingState) -> None:
        self.model.load_state_dict(saved.tensors_of("model"))
        if self.average:
            self.average.load_state_dict(saved.tensors_of("average"))
        self.best_weights = saved.tensors_of("best")
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in saved.tensors_of("optimizer").items():
            place, _, kind = name.partition(".")
            states.setdefault(int(place), {})[kind] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        random = saved.tensors_of("random")
        torch.set_rng_state(random["global"])
        if self.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)
        self.epoch_order = random["shuffle"]
        self.shuffle.set_state(self.epoch_order)
        for name in _RECORD:
            setattr(self, name, saved.record[name])


# Attributes of a loop that a checkpoint has as they are.
_RECORD = ("history", "best_epoch", "step", "batches", "rows", "loss_sum", "seconds")


def _optimizer(model: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW; in a model of reviews with a step size and an epsilon of their own for what each word has.

    Adam divides by the size of the gradients so far, so a word that occurs once moves as far as
    one that occurs in every batch, and is soon known by heart. With an epsilon above the size of
    such gradients its step is in proportion to what was seen of it.
    """
    groups: list[dict[str, Any]] = [
        {"params": list(model.parameters()), "lr": settings.learning_rate}
    ]
    if isinstance(settings, TrainingSettings):
        by_word = WordVectors | WordWeights
        vectors = [p for m in model.modules() if isinstance(m, by_word) for p in m.parameters()]
        groups[0]["params"] = [p for p in model.parameters() if all(p is not v for v in vectors)]
        groups.append(
            {
                "params": vectors,
                "lr": settings.vector_learning_rate,
                "eps": settings.vector_epsilon,
            }
        )
        if settings.layer_decay < 1 or settings.unfreeze == "gradually":
            groups = [part for group in groups for part in _by_layer(model, group, settings)]
    for group in groups:
        group["initial_lr"] = group["lr"]
        group.setdefault("from_epoch", 0)
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def _by_layer(
    model: nn.Module, group: dict[str, Any], settings: TrainingSettings
) -> Iterator[dict[str, Any]]:
    """A group of parameters of a model of reviews, a group for each layer: of layers below the head the rates differ.

    After Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification" (2018).
    """
    depths = {id(p): _depth(model, name) for name, p in model.named_parameters()}
    for depth in sorted(set(depths.values())):
        own = [p for p in group["params"] if depths[id(p)] == depth]
        if own:
            rate = group["lr"] * settings.layer_decay**depth
            start = depth if settings.unfreeze == "gradually" else 0
            yield {**group, "params": own, "lr": rate, "from_epoch": start}


def _depth(model: nn.Module, name: str) -> int:
    """How many layers lie above that of a parameter: 0 of the head, most of the word vectors."""
    layers = max(
        (each.num_layers for each in model.modules() if isinstance(each, Recurrent)), default=0
    )
    if name.startswith("embedding."):
        return layers + 1
    if found := re.search(r"^rnn\..*_l(\d+)", name):
        return layers - int(found[1])
    return 0


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """How `AveragedModel` takes up the weights of a step.

    After t steps the decay is (1 + t) / (10 + t) where that is less: the average is then over the last tenth of the
    steps or so, and of the initial weights nothing is left in it, however short the training.
    """

    @torch.no_grad()
    def take_up(average: Any, current: Any, steps: Any) -> None:
        t = int(steps)
        torch._foreach_lerp_(average, current, 1 - min(decay, (1 + t) / (10 + t)))

    return take_up


def _rate_factor(settings: LoopSettings, step: int, steps: int) -> float:
    """Of the learning rates at a step, from 0.

    One cycle: a linear rise over the first tenth, then half a cosine down to nothing.
    """
    if settings.schedule == "constant":
        return 1.0
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _validated(model: nn.Module, rows: Rows, workers: Workers = ALONE) -> dict[str, float]:
    return {f"validation_{name}": value for name, value in rows.measure(model, workers).items()}


def _solved(
    model: nn.Module, train: Rows, validation: Rows | None, settings: LoopSettings
) -> dict[str, Any]:
    """The history of a model that is not trained by steps, but solved at once or knows nothing."""
    started = time.perf_counter()
    if solve := SOLVERS.get(type(model)):
        solve(model, train, settings)
    seconds = time.perf_counter() - started
    result = {
        "epoch": 1,
        "loss": train.measure(model)["loss"],
        "seconds": seconds,
        f"{train.unit}_per_second": train.units / max(seconds, 1e-9),
    }
    return result | (_validated(model, validation) if validation is not None else {})
