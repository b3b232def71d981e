"""Torch's own samples of its recurrent modules, right and wrong ones, as its tests have them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree

import rnnfast

pytest.importorskip("expecttest", reason="torch's samples need it")
from torch.testing._internal import common_modules

OURS = {
    getattr(nn, kind): getattr(rnnfast, kind)
    for kind in ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
}
INFOS = [each for each in common_modules.module_db if each.module_cls in OURS]
DTYPES = [torch.float32, torch.float64]
ERROR = common_modules.ModuleErrorEnum


def options(dtype: torch.dtype, training: bool) -> dict[str, Any]:
    return {"device": "cpu", "dtype": dtype, "requires_grad": True, "training": training}


def tensors(tree: Any) -> list[Tensor]:
    return [each for each in _pytree.tree_leaves(tree) if isinstance(each, Tensor)]


def differentiated(module: nn.Module, call: Any) -> Iterator[list[Tensor]]:
    """What the module gives, and the gradients of all that has one."""
    leaves = [*tensors((call.args, call.kwargs)), *module.parameters()]
    leaves = [each for each in leaves if each.requires_grad]
    outputs = tensors(module(*call.args, **call.kwargs))
    yield outputs
    total = sum(each.square().sum() for each in outputs)
    yield list(torch.autograd.grad(total, leaves, allow_unused=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_the_samples_give_what_torch_gives(info: Any, dtype: torch.dtype, training: bool) -> None:
    samples = info.module_inputs_func(info, **options(dtype, training))
    assert samples
    for sample in samples:
        made = sample.constructor_input
        modules = [
            cls(*made.args, **made.kwargs) for cls in (info.module_cls, OURS[info.module_cls])
        ]
        theirs, ours = (module.to(dtype).train(training) for module in modules)
        ours.load_state_dict(theirs.state_dict())
        results = [differentiated(each, sample.forward_input) for each in (theirs, ours)]
        for right, found in zip(*results, strict=True):
            torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_the_wrong_samples_are_refused_in_the_words_of_torch(
    info: Any, dtype: torch.dtype, training: bool
) -> None:
    samples = info.module_error_inputs_func(info, **options(dtype, training))
    assert samples
    for sample in samples:
        made = sample.module_error_input.constructor_input
        call = sample.module_error_input.forward_input
        layer = OURS[info.module_cls]
        if sample.error_on == ERROR.CONSTRUCTION_ERROR:
            with pytest.raises(sample.error_type, match=sample.error_regex):
                layer(*made.args, **made.kwargs)
        else:
            module = layer(*made.args, **made.kwargs)
            with pytest.raises(sample.error_type, match=sample.error_regex):
                module(*call.args, **call.kwargs)


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("weights", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("kind", [each.__name__ for each in OURS])
def test_autocast_on_the_cpu_gives_the_types_of_torch(
    kind: str, with_state: bool, weights: torch.dtype, narrow: torch.dtype
) -> None:
    layers = () if kind.endswith("Cell") else (2,)
    theirs, ours = (
        getattr(package, kind)(3, 4, *layers, dtype=weights) for package in (nn, rnnfast)
    )
    ours.load_state_dict(theirs.state_dict())
    x, state = (
        torch.randn(*size, 2, n, dtype=weights)
        for size, n in (((5,) * len(layers), 3), (layers, 4))
    )
    hx = None if not with_state else (state, state) if kind.startswith("LSTM") else state
    with torch.autocast("cpu", narrow):
        found = tensors(ours(x, hx))
    exact = tensors(theirs(x, hx))
    try:
        with torch.autocast("cpu", narrow):
            expected = [each.dtype for each in tensors(theirs(x, hx))]
    except RuntimeError:  # it cannot compute in this type
        expected = [narrow] * len(exact)
    if kind == "LSTM" and expected[0] not in (narrow, weights):
        # Without units for it oneDNN's LSTM takes no float16, and torch falls back to float32.
        expected = [narrow] * len(exact)
    assert [each.dtype for each in found] == expected
    for one, right in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), right.double(), rtol=0.02, atol=0.02)
    found[0].float().sum().backward()
    assert all(each.grad.dtype == weights for each in ours.parameters())


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_autocast_on_the_cpu_in_a_model_and_compiled(kind: str) -> None:
    model = nn.ModuleList([nn.Linear(3, 6), getattr(rnnfast, kind)(6, 4), nn.Linear(4, 1)])

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model[2](model[1](model[0](x))[0])

    x = torch.randn(5, 2, 3)
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for each in (run, compiled):
        output = each(x)
        assert output.dtype == torch.bfloat16
        torch.testing.assert_close(output, run(x))
