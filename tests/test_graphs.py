"""Graphs of a layer that torch traced or exported: each call settles what is kept, not the grad mode of the tracing."""

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import rnnfast

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

KINDS = ["RNN", "GRU", "LSTM"]
X = torch.randn(5, 2, 3)


class Tagger(nn.Module):
    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.rnn = getattr(rnnfast, kind)(3, 4, 2, bidirectional=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


def traced(model: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # shapes are constants in a trace
        return torch.jit.trace(model, (X,))  # which checks itself


def loaded(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.jit.save(traced(model), file)
    return torch.jit.load(io.BytesIO(file.getvalue()))


def exported(model: nn.Module) -> Any:
    return torch.export.export(model, (X,)).module()


def exported_strictly(model: nn.Module) -> Any:
    return torch.export.export(model, (X,), strict=True).module()


def decomposed(model: nn.Module) -> Any:
    return torch.export.export(model, (X,)).run_decompositions().module()


GRAPHS = [traced, loaded, exported, exported_strictly, decomposed]


class Kept(TorchDispatchMode):
    """Counts the numbers that forward passes keep for backward passes, beside their outputs."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        if func is torch.ops.rnnfast.layer.default:
            self.numbers += made[3].numel()
        return made


def trained(model: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    model(X).square().sum().backward()
    return {name: each.grad for name, each in model.named_parameters()}


@pytest.mark.parametrize("mode", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_trains_and_infers_whatever_the_mode_of_its_tracing(
    kind: str, graph: Callable[[nn.Module], Any], mode: bool
) -> None:
    model = Tagger(kind)
    right = trained(model)
    with torch.set_grad_enabled(mode):
        made = graph(copy.deepcopy(model))
    found = trained(made)
    assert found.keys() == right.keys()
    for name, gradient in right.items():
        torch.testing.assert_close(found[name], gradient)

    with torch.no_grad(), Kept() as inference:
        torch.testing.assert_close(made(X), model(X))
    assert inference.numbers == 0
    for each in made.parameters():  # frozen, as for inference with the grad mode on
        each.requires_grad_(False)
    with Kept() as inference:
        made(X)
    assert inference.numbers == 0


@pytest.mark.parametrize("recompute", [False, True])
def test_a_graph_keeps_what_the_layer_keeps(recompute: bool) -> None:
    model = Tagger("LSTM", recompute=recompute)
    with torch.no_grad():
        made = exported(copy.deepcopy(model))
    kept = []
    for each in (model, made):
        with Kept() as training:
            each(X)
        kept.append(training.numbers)
    # Layers, directions, numbers of a hidden unit, and the shape of the output.
    assert kept == [2 * 2 * (1 if recompute else 5) * 5 * 2 * 4] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_of_fx_made_without_gradients_trains(kind: str) -> None:
    layer = getattr(rnnfast, kind)(3, 4)

    def run(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,))[0]

    weights = dict(layer.named_parameters())
    with torch.no_grad():
        made = make_fx(run)(weights, X)
    right = torch.autograd.grad(run(weights, X).square().sum(), list(weights.values()))
    found = torch.autograd.grad(made(weights, X).square().sum(), list(weights.values()))
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_layer_keeps_nothing_in_inference_and_trains_after_it(kind: str) -> None:
    model = Tagger(kind)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(X), model(X))
    right = trained(model)
    for (_, found), gradient in zip(trained(compiled).items(), right.values(), strict=True):
        torch.testing.assert_close(found, gradient)
