"""Both contenders of a layer, and their times."""

import gc
import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

import rnnfast
from benchmarks import isolation, parity
from benchmarks.random_layers.layers import Layer
from benchmarks.timing import Call

Results = Callable[[], tuple[Tensor, ...]]
"""A call of a layer: its outputs and, of a training step, its gradients."""

SLOWER = 0.95
"""Times torch's speed below which a layer is measured once more, and printed."""

BOUNDS = {"float32": 1e-4, "float64": 1e-10, "bfloat16": 0.05, "float16": 0.02}
"""The precisions, and the largest difference of a result, as a share of its largest magnitude."""

NARROW = ("bfloat16", "float16")
"""Precisions in which either contender may be off by more than that, most of all where a relu turns on or off."""

SECONDS, SECONDS_AGAIN = 0.5, 2.0
"""That the rounds of a layer take, and those of one that seems slower."""

BURST = 1e-3
"""Seconds that a shorter call is repeated for; no longer, so that most bursts see nothing of other programs."""

LEAST, MOST = 7, 400
"""Rounds."""


def measure(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The seconds of each layer and of torch's, in a process of the layers' number of threads.

    Raises:
        MismatchError: the results differ.
    """
    found = []
    for index, arguments in enumerate(layers):
        layer = Layer(**arguments)
        isolation.say(f"{index + 1} of {len(layers)}: {layer}")
        torch.set_num_threads(layer.threads)
        ours, theirs = contenders(layer)
        require_parity(layer, ours, theirs)
        for seconds in (SECONDS, SECONDS_AGAIN):
            times = fastest([ours, theirs], seconds)
            speed = times[1] / times[0]
            if speed >= SLOWER:
                break
        found.append(arguments | {"rnnfast": times[0], "torch.nn": times[1], "speed": speed})
        if speed < SLOWER:
            isolation.say("")
            print(f"{speed:.2f} x, {times[0] * 1e6:.0f} us, {layer}", flush=True)
    isolation.say("")
    return found


def require_parity(layer: Layer, ours: Results, theirs: Results) -> None:
    """Raises MismatchError where the results differ, in a narrow precision by more than twice what torch is off by."""
    found, bound = _named(ours()), BOUNDS[layer.precision]
    if layer.precision not in NARROW:
        parity.check(layer, "torch.nn", found, _named(theirs()), bound)
        return
    exact = _named(contenders(layer, torch.float64)[1]())
    wide = [{name: each.double() for name, each in r.items()} for r in (found, _named(theirs()))]
    error = parity.check(layer, "torch.nn", wide[1], exact, math.inf)
    parity.check(layer, "torch.nn in float64", wide[0], exact, max(bound, 2 * error))


def fastest(calls: Sequence[Call], seconds: float) -> list[float]:
    """The least seconds of each call over rounds that take so many together, in which the calls take turns.

    The least, since other programs only ever add, most of all to what waits for a second thread.
    """
    once = [min(_timed(call, 1) for _ in range(2)) for call in calls]
    repeats = [math.ceil(BURST / each) if each < BURST else 1 for each in once]
    round_ = sum(each * count for each, count in zip(once, repeats, strict=True))
    best = [math.inf] * len(calls)
    gc.collect()
    gc.disable()
    try:
        for _ in range(min(max(LEAST, int(seconds / round_)), MOST)):
            for place, (call, count) in enumerate(zip(calls, repeats, strict=True)):
                best[place] = min(best[place], _timed(call, count))
    finally:
        gc.enable()
    return best


def _timed(call: Call, repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def _named(results: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"result {place}": each.detach() for place, each in enumerate(results)}


def contenders(layer: Layer, computed: torch.dtype | None = None) -> list[Results]:
    """The call of rnnfast's layer and of torch's, with the same weights; each gives its results in the same order.

    Input and weights are of the layer's precision, and are computed in that unless another is given.
    """
    dtype = getattr(torch, layer.precision)
    generator = torch.Generator().manual_seed(2026)
    sizes = (layer.steps, layer.batch) if not layer.batch_first else (layer.batch, layer.steps)
    input = torch.randn(*sizes, layer.inputs, generator=generator).to(dtype)
    cell, _, nonlinearity = layer.cell.partition(" ")
    options: dict[str, Any] = {"nonlinearity": nonlinearity} if nonlinearity else {}
    options |= {
        "num_layers": layer.layers,
        "bidirectional": layer.bidirectional,
        "batch_first": layer.batch_first,
        "dtype": dtype,
    }
    torch.manual_seed(2026)
    theirs: nn.RNNBase = getattr(nn, cell)(layer.inputs, layer.hidden, **options)
    ours: nn.RNNBase = getattr(rnnfast, cell)(layer.inputs, layer.hidden, **options)
    ours.load_state_dict(theirs.state_dict())
    to = computed or dtype
    both = (each.to(to).train(layer.training) for each in (ours, theirs))
    return [_call(each, input.to(to, copy=True)) for each in both]


def _call(module: nn.RNNBase, input: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    def forward() -> tuple[Tensor, ...]:
        output, state = module(input)
        return (output, *(state if isinstance(state, tuple) else (state,)))

    def infer() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return forward()

    leaves = [input, *module.parameters()]

    def train() -> tuple[Tensor, ...]:
        output, *states = forward()
        # The gradient of half the sum of the squares, without computing the sum.
        return output, *states, *torch.autograd.grad(output, leaves, output.detach())

    if not module.training:
        return infer
    input.requires_grad_()
    return train
