"""Random calls of the layer's operator beside its plain reference, forward and backward: `make fuzz`.

Drawn are the cell, the dtype, sizes down to 0, lengths, direction, what is left out, and how the tensors lie in memory:
transposed, every second number, expanded, and one tensor in two places.
"""

import random
import sys
import time
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from rnnfast.nn import ops, reference

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}


def laid(tensor: Tensor, how: str) -> Tensor:
    """The same numbers, as they might lie in memory; expanded, those of the first row in all."""
    if how == "transposed" and tensor.dim() > 1:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if how == "apart":
        wide = tensor.new_full((*tensor.shape, 2), torch.nan)
        wide[..., 0] = tensor
        return wide[..., 0]
    if how == "expanded" and tensor.dim() > 1 and tensor.shape[0] > 0:
        return tensor[:1].expand(tensor.shape)
    return tensor


def check_one(seed: int) -> str:
    """One call; returns its cell."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    cell, dtype = rng.choice(list(GATES)), rng.choice(list(TOLERANCE))
    T, N = rng.choice((1, 1, 2, 3, 7, 40)), rng.choice((0, 1, 1, 2, 5, 19))  # noqa: N806
    I, H = rng.choice((1, 2, 5, 16, 33)), rng.choice((1, 2, 7, 16, 40))  # noqa: E741, N806
    P = rng.randint(1, H - 1) if cell == "lstm" and H > 1 and rng.random() < 0.3 else 0  # noqa: N806
    G, S = GATES[cell], P or H  # noqa: N806

    def drawn(*shape: int) -> Tensor:
        how = rng.choice(("plain", "plain", "transposed", "apart", "expanded"))
        # Not so large that a layer's state is chaos, where no two ways of rounding agree.
        return laid(torch.randn(*shape, dtype=dtype) / shape[-1] ** 0.5, how).requires_grad_()

    x = drawn(T, N, I)
    h0 = drawn(N, S)
    w_ih, w_hh = drawn(G * H, I), drawn(G * H, S)
    b_ih = drawn(G * H) if rng.random() < 0.8 else None
    b_hh = b_ih if rng.random() < 0.2 else drawn(G * H) if b_ih is not None else None
    w_hr = drawn(P, H) if P else None
    c0 = None if cell != "lstm" else h0 if not P and rng.random() < 0.3 else drawn(N, H)
    lengths = (
        torch.tensor([rng.randint(1, T) for _ in range(N)], dtype=torch.int64)
        if rng.random() < 0.5
        else None
    )
    inputs = [each for each in (x, h0, w_ih, w_hh, b_ih, b_hh, w_hr, c0) if each is not None]
    inputs = list({id(each): each for each in inputs}.values())
    options: dict[str, Any] = {"c0": c0, "lengths": lengths, "reverse": rng.random() < 0.5}

    def results(layer: Any) -> list[Tensor]:
        made = list(layer(cell, x, h0, w_ih, w_hh, b_ih, b_hh, w_hr, **options))
        total = sum(
            (each * torch.linspace(-1, 1, each.numel(), dtype=dtype).view_as(each)).sum()
            for each in made
        )
        return [*made, *torch.autograd.grad(total, inputs, allow_unused=True)]

    for one, other in zip(results(ops.layer), results(reference.layer), strict=True):
        one, other = (torch.zeros(()) if each is None else each.detach() for each in (one, other))
        limit = TOLERANCE[dtype] * (1 + float(other.abs().max()) if other.numel() else 1)
        assert torch.allclose(one, other.to(one.dtype), rtol=0, atol=limit), f"seed {seed}: {cell}"
    return cell


def run(seconds: float, seed: int, most: int = sys.maxsize) -> Counter[str]:
    """Calls until the time is up, or there were `most`; counts them by cell."""
    figures: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end and figures["calls"] < most:
        figures[check_one(seed + figures["calls"])] += 1
        figures["calls"] += 1
    return figures


if __name__ == "__main__":
    torch.set_num_threads(1)  # the sizes are small
    print(
        dict(
            run(60 * float(sys.argv[1]), 1_000_000 * (int(sys.argv[2]) if len(sys.argv) > 2 else 0))
        )
    )
