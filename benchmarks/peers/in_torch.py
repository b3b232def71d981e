"""What the contenders that run in torch share: weights in a layer, inference, and a training step by autograd."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from benchmarks.cases import Case, Data
from benchmarks.peers import Contender


def layer(module: Any, case: Case, data: Data, **arguments: Any) -> nn.RNNBase:
    """The layer of a case, from rnnfast or torch.nn, with the weights of the data; `arguments`: more of its own."""
    built: nn.RNNBase = getattr(module, case.cell)(
        case.shape.inputs, case.shape.hidden, **arguments
    )
    with torch.no_grad():
        for parameter, weight in zip(built.parameters(), data.weights.values(), strict=True):
            parameter.copy_(weight)
    # Unless it is told, torch.nn on a GPU keeps what a backward pass would need.
    return built.train(case.training)


def layer_contender(module: Any, case: Case, data: Data, **arguments: Any) -> Contender:
    """The layer of a case, from rnnfast or torch.nn; rows of different length come packed, which is not timed."""
    if data.lengths is None:
        input = data.input.clone()
    else:
        packed = pack_padded_sequence(data.input, data.lengths, enforce_sorted=False)
        input = packed.data
    built = layer(module, case, data, **arguments)

    def like_packed(steps: Tensor) -> PackedSequence:
        return packed._replace(data=steps)

    def forward() -> tuple[Tensor, ...]:
        output, state = built(input if data.lengths is None else like_packed(input))
        return (
            output if data.lengths is None else output.data,
            *(last[0] for last in (state if case.cell == "LSTM" else (state,))),
        )

    def padded(steps: Tensor) -> Tensor:
        if data.lengths is None:
            return steps
        return pad_packed_sequence(like_packed(steps), total_length=case.shape.steps)[0]

    parameters = dict(zip(data.weights, built.parameters(), strict=True))
    return contender(case, forward, {"input": input, **parameters}, padded)


def contender(
    case: Case,
    forward: Callable[[], tuple[Tensor, ...]],
    leaves: dict[str, Tensor],
    padded: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Contender:
    """A contender that runs `forward` as a case wants it.

    Args:
        case: inference or training.
        forward: gives output, h_n and, for an LSTM, c_n, both (N, H).
        leaves: what is differentiated by, "input" among them.
        padded: from how `forward` has time steps, in output and input, to (T, N, features).
    """

    def infer() -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return forward()

    def train() -> tuple[Tensor, ...]:
        output, *last = forward()
        # The gradient of half the sum of the squares, without computing the sum.
        grads = torch.autograd.grad(output, list(leaves.values()), output.detach())
        return output, *last, *grads

    def results(returned: tuple[Tensor, ...]) -> dict[str, Tensor]:
        states = ["h_n", "c_n"] if case.cell == "LSTM" else ["h_n"]
        names = ["output", *states, *(f"d {leaf}" for leaf in leaves)][: len(returned)]
        found = {name: tensor.detach() for name, tensor in zip(names, returned, strict=True)}
        return found | {
            name: padded(found[name]) for name in ("output", "d input") if name in found
        }

    if not case.training:
        return Contender(infer, results)
    for leaf in leaves.values():
        leaf.requires_grad_()
    return Contender(train, results)
