"""A training step of a language model beside the same model in torch.nn, one thread: `python -m benchmarks.language`.

The peer has all that a step has: dropout, tied vectors, clipping and AdamW; in bfloat16 it is under autocast. Once it
has cross entropy over all words, which is what torch has, and once the loss of the project. Times are those of the
processor, medians of steps that take turns; the words are drawn as Zipf has them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from rnnfast.models.choices import Precision
from rnnfast.models.language import LanguageModel, build_language_model
from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.precision import computing

WINDOW = 64
KERNELS = ("rnnfast::layer", "_SampledLoss")  # beginnings of the names of the project's operators


class Peer(nn.Module):
    """The model in torch.nn; with `loss` for its output where that is given."""

    def __init__(self, model: LanguageModel, loss: nn.Module | None) -> None:
        super().__init__()
        config = model.config
        self.vectors = nn.Embedding(len(model.output.bias), config.embedding_size)
        self.rnn = nn.GRU(config.embedding_size, config.hidden_size, batch_first=True)
        self.projection = nn.Linear(config.hidden_size, config.embedding_size)
        self.bias = nn.Parameter(torch.zeros(len(model.output.bias)))
        self.sampled, self.config = loss, config

    def loss(self, ids: Tensor, seed: int) -> Tensor:
        states = F.dropout(self.rnn(self.vectors(ids[:, :-1]))[0], self.config.dropout).flatten(
            0, 1
        )
        truth = ids[:, 1:].flatten().long()
        if self.sampled is not None:
            count = self.config.candidates
            result: Tensor = self.sampled(states, self.vectors.weight, truth, count, seed)
            return result
        return F.cross_entropy(
            F.linear(self.projection(states), self.vectors.weight, self.bias), truth
        )


def stepped(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """One step of training."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def took(step: Callable[[], None], precision: Precision, model: nn.Module, own: bool) -> float:
    """Seconds of the processor."""
    narrow: Any = nullcontext()
    if own:
        narrow = computing(model, precision)
    elif precision == "bf16":
        narrow = torch.autocast("cpu", torch.bfloat16)
    with narrow:
        started = time.process_time()
        step()
        return time.process_time() - started


def share_of_kernels(step: Callable[[], None], precision: Precision, model: nn.Module) -> float:
    """Of the time of a step, that in the recurrent layer and in the sampled loss, forward and backward."""
    with computing(model, precision), profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(3):
            step()
    events = found.key_averages()
    inside = sum(e.cpu_time_total for e in events if e.key.startswith(KERNELS))
    return float(inside / sum(e.self_cpu_time_total for e in events))


def compare(options: argparse.Namespace, precision: Precision) -> None:
    """Prints a row for each model."""
    config = LanguageConfig(embedding_size=options.embedding, hidden_size=options.hidden)
    model = build_language_model(config, options.words, streams=options.streams).train()
    places, seed = torch.arange(options.streams), iter(range(1 << 30))
    ranks = torch.rand(options.streams, WINDOW + 1)
    ids = (float(options.words) ** ranks).int().clamp(max=options.words - 1)
    rivals: dict[str, tuple[nn.Module, Callable[[], None], bool]] = {
        "rnnfast": (model, stepped(model, lambda: model.loss(ids, places, next(seed))), True)
    }
    for name, loss in (
        ("nn.GRU, the same loss", build_language_model(config, options.words).output),
        ("nn.GRU, cross entropy over all words", None),
    ):
        peer = Peer(model, loss)
        rivals[name] = (
            peer,
            stepped(peer, lambda peer=peer: peer.loss(ids, next(seed))),  # type: ignore[misc]
            False,
        )
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(options.rounds + 1):
        for name, (trained, step, own) in rivals.items():
            times[name].append(took(step, precision, trained, own))
    own_time = statistics.median(times["rnnfast"][1:])
    for name, found in times.items():
        median = statistics.median(found[1:])
        speed = options.streams * WINDOW / median
        print(f"| {precision} | {name} | {speed:,.0f} | {median / own_time:.2f} |")
    share = share_of_kernels(rivals["rnnfast"][1], precision, model)
    print(f"{precision}: {100 * share:.0f}% of a step of rnnfast is in its kernels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedding", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--words", type=int, default=20_000)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| precision | model | words/s | times as long as rnnfast |\n| --- | --- | --- | --- |")
    for precision in ("fp32", "bf16"):
        compare(options, precision)


if __name__ == "__main__":
    main()
