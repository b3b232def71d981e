"""Cells, frozen cells, streams of devices, gradient penalties and ensembles, one thread: `python -m benchmarks.steps`.

Times are those of the processor, the least of many rounds in turn, so that other work on the machine counts little.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

import rnnfast
from rnnfast.models import WindowConfig, build_window_model
from rnnfast.scoring import SensorScorer, Stream
from rnnfast.training.run_folder import SeriesInfo


def least(*calls: Callable[[], Any], rounds: int = 40, each: int = 20) -> list[float]:
    """Microseconds of each of the calls, which take turns."""
    times = [float("inf")] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for place, call in enumerate(calls):
            start = time.process_time()
            for _ in range(each):
                call()
            times[place] = min(times[place], (time.process_time() - start) / each * 1e6)
    return times


def cells() -> None:
    """One row, 128 -> 256."""
    print("| us | torch.nn | rnnfast | frozen |\n| --- | --- | --- | --- |")
    for kind in ("RNNCell", "GRUCell", "LSTMCell"):
        theirs, ours, frozen = (
            getattr(package, kind)(128, 256) for package in (nn, rnnfast, rnnfast)
        )
        rnnfast.freeze(frozen)
        x, h = torch.randn(1, 128), torch.randn(1, 256)
        state: Any = (h, h) if kind == "LSTMCell" else h
        with torch.inference_mode():
            # One after another: in turn, each would find the caches full of the others' weights.
            found = [least(partial(c, x, state))[0] for c in (theirs, ours, frozen)]
        print(f"| {kind} | {' | '.join(f'{each:.1f}' for each in found)} |")


def streams(devices: int = 100_000) -> None:
    """A GRU of 32 units, two channels, one step ahead."""
    config = WindowConfig(cell="gru", hidden_size=32, horizon=1, normalise="none", quantiles=False)
    model = build_window_model(config, channels=2, targets=(0,)).eval()
    series = SeriesInfo(channels=("a", "b"), targets=("a",), step=1)
    stream = Stream(SensorScorer(model, series, digest=""))
    names = [f"device {number}" for number in range(devices)]
    slots, readings = stream.slots(names), np.random.randn(devices, 2).astype(np.float32)
    mixed = np.random.default_rng(0).permutation(devices)
    by_name = dict(zip(names, readings, strict=True))
    in_order, in_another, read = least(
        lambda: stream.read_slots(slots, readings),
        lambda: stream.read_slots(slots[mixed], readings[mixed]),
        lambda: stream.read(by_name),
        rounds=8,
        each=1,
    )
    for name, took in (("slots", in_order), ("slots in any order", in_another), ("names", read)):
        print(f"{devices} devices by {name}: {devices / took:.2f} million readings/s")


def penalty(package: str, steps: int) -> None:
    """A gradient penalty through a GRU, 64 -> 128, 32 rows, in a process of its own."""
    layer = {"torch": nn, "rnnfast": rnnfast}[package].GRU(64, 128)
    x = torch.randn(steps, 32, 64, requires_grad=True)

    def run() -> None:
        (slope,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
        slope.square().sum().backward()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took = least(run, rounds=3, each=1)[0] / 1e6
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"gradient penalty, {package}, T={steps}: {took:.2f} s, {memory:.0f} MB")


def ensembles() -> None:
    """Vmap over stacked weights beside a loop over the models."""
    for kind, models, shape, hidden in (
        ("GRU", 8, (20, 8, 16), 32),
        ("LSTM", 16, (10, 4, 8), 16),
        ("RNN", 5, (50, 32, 32), 64),
    ):
        layers = [getattr(rnnfast, kind)(shape[-1], hidden) for _ in range(models)]
        stacked = {name: each.detach() for name, each in stack_module_state(layers)[0].items()}
        x = torch.randn(shape)

        def run(weights: Any, layer: Any = layers[0], x: Any = x) -> Any:
            return functional_call(layer, weights, (x,))[0]

        def loop(layers: Any = layers, x: Any = x) -> None:
            for layer in layers:
                torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))

        def each_in_turn(layers: Any = layers, x: Any = x) -> list[Any]:
            return [layer(x) for layer in layers]

        forward, slopes = (
            vmap(run),
            vmap(grad(lambda weights, run=run: run(weights).square().sum())),
        )
        with torch.no_grad():
            ratio = least(partial(forward, stacked), each_in_turn, each=2)
        training = least(partial(slopes, stacked), loop, each=2)
        print(
            f"{models} models {kind} {shape} -> {hidden}: vmap takes {ratio[0] / ratio[1]:.2f} x a loop forward, "
            f"{training[0] / training[1]:.2f} x for gradients"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:]:
        penalty(sys.argv[1], int(sys.argv[2]))
    else:
        cells()
        streams()
        for each in ("torch", "rnnfast"):
            subprocess.run([sys.executable, "-m", "benchmarks.steps", each, "512"], check=True)
        ensembles()
