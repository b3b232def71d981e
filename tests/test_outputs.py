"""What a caller does with an output of his: he writes into it, or frees it, and gradients stay those of torch.nn."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import rnnfast

KINDS = ["RNN", "GRU", "LSTM"]
WRITES: dict[str, Callable[[Tensor], Any]] = {
    "relu_": lambda y: y.relu_(),
    "mul_": lambda y: y.mul_(3),
    "a part": lambda y: y[1:3, :, 2].zero_(),
    "a view": lambda y: y.transpose(0, 1).add_(1),
    "add_ of itself": lambda y: y.add_(y.detach()),
    "twice": lambda y: y.sub_(1).exp_(),
    "dropout": lambda y: nn.functional.dropout(y, 0.5, True, inplace=True),
    "fill": lambda y: y.zero_(),
}


def pair(kind: str, *sizes: int, **options: Any) -> tuple[nn.RNNBase, nn.RNNBase]:
    theirs, ours = (getattr(package, kind)(*sizes, **options) for package in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def gradients(
    layer: nn.RNNBase, x: Tensor, write: Callable[[Tensor], Any], copied: bool = False
) -> list[Tensor]:
    x = x.clone().requires_grad_()
    output, last = layer(x)
    output = output.clone() if copied else output
    torch.manual_seed(0)
    write(output)
    loss = output.square().sum() + (last if isinstance(last, Tensor) else last[1]).sum()
    return list(torch.autograd.grad(loss, [x, *layer.parameters()]))


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_write_into_the_output_leaves_the_gradients_right(
    kind: str, options: dict[str, Any], write: str
) -> None:
    theirs, ours = pair(kind, 3, 4, **options)
    x = torch.randn(5, 2, 3)
    # torch's LSTM refuses it, so there the output is copied first.
    right = gradients(theirs, x, WRITES[write], copied=kind == "LSTM")
    for found, expected in zip(gradients(ours, x, WRITES[write]), right, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_a_write_with_lengths_and_what_is_made_again(kind: str, recompute: bool) -> None:
    layer = getattr(rnnfast, kind)(3, 4, recompute=recompute)
    x, lengths = torch.randn(5, 2, 3), torch.tensor([3, 5])
    results = []
    for copied in (False, True):
        output = layer(x, lengths=lengths)[0]
        output = output.clone() if copied else output
        output.relu_().sum().backward()
        results.append([each.grad.clone() for each in layer.parameters()])
        layer.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_write_before_the_second_of_two_backward_passes() -> None:
    layer = rnnfast.GRU(3, 4)
    output, h_n = layer(torch.randn(5, 2, 3))
    weights = list(layer.parameters())
    first = torch.autograd.grad(h_n.sum(), weights, retain_graph=True)
    with torch.no_grad():
        output.zero_()
    second = torch.autograd.grad(h_n.sum(), weights)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_after_a_write(kind: str) -> None:
    layer = getattr(rnnfast, kind)(3, 4, dtype=torch.float64)
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for copied in (False, True):
        output = layer(x)[0]
        output = output.clone() if copied else output
        (gradient,) = torch.autograd.grad(output.mul_(2).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), x)[0])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("layers", [1, 2])
def test_a_write_under_checkpoint_and_in_a_compiled_graph(layers: int) -> None:
    layer = rnnfast.GRU(3, 4, layers)

    def run(x: Tensor) -> Tensor:
        return layer(x)[0].relu_()

    x = torch.randn(5, 2, 3, requires_grad=True)
    right = torch.autograd.grad(layer(x)[0].clone().relu_().sum(), x)[0]
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for each in (lambda y: checkpoint(run, y, use_reentrant=False), compiled):
        torch.testing.assert_close(torch.autograd.grad(each(x).sum(), x)[0], right)


def test_a_write_into_the_input_is_refused_as_by_torch() -> None:
    layer, x = rnnfast.GRU(3, 4), torch.randn(5, 2, 3)
    output = layer(x)[0]
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_of_many_megabytes_can_be_freed(kind: str) -> None:
    """What FSDP does, and what writes activations to a disk."""
    layer = getattr(rnnfast, kind)(3, 256)
    x = torch.randn(40, 64, 3)
    with torch.no_grad():
        output = layer(x)[0]
    storage = output.untyped_storage()
    assert storage.nbytes() == output.nbytes >= 2 << 20
    storage.resize_(0)
    storage.resize_(output.nbytes)
    output.fill_(1)
    assert output.sum() == output.numel()

    weights = list(layer.parameters())
    right = torch.autograd.grad(layer(x)[0].sum(), weights)
    output = layer(x)[0]
    loss = output.sum()
    output.untyped_storage().resize_(0)
    found = torch.autograd.grad(loss, weights)
    assert all(torch.equal(one, other) for one, other in zip(found, right, strict=True))


def test_gradients_of_many_megabytes_can_be_freed() -> None:
    layer = rnnfast.LSTM(512, 512)
    x = torch.randn(20, 64, 512, requires_grad=True)
    layer(x)[0].sum().backward()
    for each in (x, *layer.parameters()):
        each.grad.untyped_storage().resize_(0)
        assert each.grad.untyped_storage().nbytes() == 0


def test_nothing_of_an_output_is_kept_twice_nor_after_the_backward_pass() -> None:
    layer, x = rnnfast.GRU(3, 4), torch.randn(5, 2, 3)
    output = layer(x)[0]
    node = output.grad_fn
    kept = [each for each in node.saved_tensors if each is not None and each.shape == output.shape]
    assert [each.data_ptr() for each in kept] == [output.data_ptr()]
    output.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        node.saved_tensors  # noqa: B018
    assert node.versions.untyped_storage().nbytes() == 0
