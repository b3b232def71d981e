"""bfloat16 on the CPU: accuracy beside torch, every way to run a layer, autocast, and torch's switch for float32."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, library, nn

import rnnfast
from rnnfast.models.precision import CPU, is_fast
from rnnfast.nn import ops, reference

pytestmark = pytest.mark.usefixtures("nan_filled")

KINDS = ("tanh", "relu", "gru", "lstm", "projected")
SHAPES = [(7, 5, 3, 63), (50, 33, 17, 130), (40, 64, 64, 64), (30, 1, 65, 129), (2, 3, 9, 70)]
"""Time steps, batch, input, hidden: odd sizes, whole vectors, one row, and so few that nothing is packed."""


def made(package: Any, kind: str, inputs: int, hidden: int, **options: Any) -> nn.RNNBase:
    if kind in ("tanh", "relu"):
        return package.RNN(inputs, hidden, nonlinearity=kind, **options)
    if kind == "projected":
        return package.LSTM(inputs, hidden, proj_size=hidden // 2, **options)
    return getattr(package, kind.upper())(inputs, hidden, **options)


def trio(kind: str, inputs: int, hidden: int, **options: Any) -> tuple[nn.RNNBase, ...]:
    """Ours and torch's in bfloat16, and the truth, with the same weights."""
    theirs = made(nn, kind, inputs, hidden, dtype=torch.bfloat16, **options)
    ours = made(rnnfast, kind, inputs, hidden, dtype=torch.bfloat16, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs, copy.deepcopy(theirs).double()


def results(layer: nn.RNNBase, x: Tensor, seeds: Tensor, **call: Any) -> list[Tensor]:
    """Output, last states, and all gradients."""
    dtype = layer.weight_ih_l0.dtype
    leaf = x.to(dtype, copy=True).requires_grad_()
    output, last = layer(leaf, **call)
    states = [*last] if isinstance(last, tuple) else [last]
    loss = (output * seeds.to(output.dtype)).sum() + sum(state.square().sum() for state in states)
    return [output, *states, *torch.autograd.grad(loss, (leaf, *layer.parameters()))]


def error(value: Tensor, exact: Tensor) -> float:
    return (value.double() - exact).square().mean().sqrt().item()


def assert_no_worse(ours: list[Tensor], theirs: list[Tensor], truth: list[Tensor]) -> None:
    """Where torch is all but exact, half a unit in the last place of a typical number will do."""
    for mine, other, exact in zip(ours, theirs, truth, strict=True):
        rounding = exact.square().mean().sqrt().item() * torch.finfo(torch.bfloat16).eps / 2
        assert error(mine, exact) <= max(error(other, exact) * 1.1, rounding)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_error_of_outputs_and_gradients_is_at_most_that_of_torch(
    kind: str, shape: tuple[int, int, int, int]
) -> None:
    steps, batch, inputs, hidden = shape
    if kind == "relu" and batch == 1:
        pytest.skip(
            "whether a sum is rounded to above zero is luck, which one row does not even out"
        )
    layers = trio(kind, inputs, hidden)
    x = torch.randn(steps, batch, inputs).bfloat16()
    width = hidden // 2 if kind == "projected" else hidden
    seeds = torch.randn(steps, batch, width).bfloat16()
    assert_no_worse(*(results(layer, x, seeds) for layer in layers))


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_a_stack_in_both_directions_with_the_batch_first(kind: str) -> None:
    layers = trio(kind, 9, 33, num_layers=2, bidirectional=True, batch_first=True)
    x, seeds = torch.randn(20, 31, 9).bfloat16(), torch.randn(20, 31, 66).bfloat16()
    assert_no_worse(*(results(layer, x, seeds) for layer in layers))


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_rows_by_themselves_and_padding_reaches_nothing(kind: str) -> None:
    layer = made(rnnfast, kind, 5, 37, dtype=torch.bfloat16)
    lengths = torch.tensor([3, 11, 1, 7, 11])
    x = torch.randn(11, 5, 5).bfloat16()
    for row, length in enumerate(lengths.tolist()):
        x[length:, row] = float("nan")
    leaf = x.clone().requires_grad_()
    output, last = layer(leaf, lengths=lengths)
    sums = output.float().square().sum()
    gradients = torch.autograd.grad(sums, (leaf, *layer.parameters()))
    total = [torch.zeros_like(p, dtype=torch.float32) for p in layer.parameters()]
    for row, length in enumerate(lengths.tolist()):
        alone = x[:length, row : row + 1].clone().requires_grad_()
        expected = layer(alone)[0]
        torch.testing.assert_close(output[:length, row : row + 1], expected, rtol=2e-2, atol=2e-2)
        assert not output[length:, row].any()
        found = torch.autograd.grad(expected.float().square().sum(), (alone, *layer.parameters()))
        torch.testing.assert_close(
            gradients[0][:length, row : row + 1], found[0], rtol=5e-2, atol=5e-2
        )
        assert not gradients[0][length:, row].any()
        total = [a + b for a, b in zip(total, found[1:], strict=True)]
    for one, other in zip(gradients[1:], total, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=5e-2, atol=5e-2 * other.abs().max())
    packed = nn.utils.rnn.pack_padded_sequence(torch.nan_to_num(x), lengths, enforce_sorted=False)
    again, last_again = layer(packed)
    unpacked = nn.utils.rnn.pad_packed_sequence(again)[0]
    torch.testing.assert_close((unpacked, last_again), (output, last), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kind", ["gru", "lstm", "projected"])
@pytest.mark.parametrize("batch", [1, 19])
def test_recomputed_gates_give_the_same_gradients_to_the_last_bit(kind: str, batch: int) -> None:
    layer = made(rnnfast, kind, 17, 43, dtype=torch.bfloat16)
    twin = copy.deepcopy(layer)
    twin.recompute = True
    x = torch.randn(21, batch, 17).bfloat16()
    seeds = torch.randn(21, batch, layer.proj_size or 43).bfloat16()
    for one, other in zip(results(layer, x, seeds), results(twin, x, seeds), strict=True):
        if is_fast("bf16", CPU):
            assert torch.equal(one, other)
        else:  # computed in float32, of which only the rounded states are kept
            size = other.float().abs().max().item()
            torch.testing.assert_close(one, other, rtol=0.02, atol=0.01 * size)


@pytest.mark.parametrize("batch", [1, 40])
@pytest.mark.parametrize("kind", ["gru", "projected"])
def test_threads_give_the_same_outputs(kind: str, batch: int) -> None:
    layer = made(rnnfast, kind, 64, 256, dtype=torch.bfloat16)
    x = torch.randn(30, batch, 64).bfloat16()
    threads = torch.get_num_threads()
    found = []
    try:
        for each in (1, 2):
            torch.set_num_threads(each)
            found.append(layer(x)[0])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("cell", ops.CELLS)
def test_opcheck_in_bfloat16(cell: str) -> None:
    gates = ops.CELLS[cell]
    shapes = [(4, 3, 2), (3, 5), (3, 5) if cell == "lstm" else None, (gates * 5, 2), (gates * 5, 5)]
    given = [None if s is None else torch.randn(s).bfloat16() for s in shapes]
    tensors = [None if t is None else t.requires_grad_() for t in given]
    arguments = (tuple(ops.CELLS).index(cell), *tensors, None, None, None, None, None, False, False)
    library.opcheck(ops.LAYER, (*arguments, 2), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_second_derivatives(kind: str) -> None:
    ours, _, truth = trio(kind, 3, 5)
    x = torch.randn(4, 2, 3).bfloat16()

    def second(layer: nn.RNNBase, x: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        first = torch.autograd.grad(layer(leaf)[0].sum(), leaf, create_graph=True)[0]
        return torch.autograd.grad(first.square().sum(), leaf)[0]

    torch.testing.assert_close(
        second(ours, x).double(), second(truth, x.double()), rtol=5e-2, atol=5e-2
    )


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_is_at_least_as_close_to_the_truth_as_that_of_torch(kind: str) -> None:
    theirs = made(nn, kind, 17, 66)
    ours = made(rnnfast, kind, 17, 66)
    ours.load_state_dict(theirs.state_dict())
    truth = copy.deepcopy(theirs).double()
    x, seeds = torch.randn(30, 20, 17), torch.randn(30, 20, 33 if kind == "projected" else 66)
    exact = results(truth, x, seeds)
    with torch.autocast("cpu", torch.bfloat16):
        try:
            found = [results(layer, x, seeds) for layer in (ours, theirs)]
        except RuntimeError as error:
            assert "could not create a primitive descriptor" in str(error)  # noqa: PT017
            pytest.skip("torch cannot compute this in bfloat16 on this machine")
    for each in found:
        if kind == "projected":  # whose c_n torch alone leaves in float32
            each[2] = each[2].bfloat16()
    assert [each.dtype for each in found[0]] == [each.dtype for each in found[1]]
    assert_no_worse(*found, exact)


@pytest.fixture
def medium() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_multiplied_as_bfloat16_only_where_torch_is_told_so(
    kind: str, request: pytest.FixtureRequest
) -> None:
    ours, truth = made(rnnfast, kind, 33, 64), made(nn, kind, 33, 64).double()
    truth.load_state_dict(ours.state_dict())
    x, seeds = torch.randn(25, 20, 33), torch.randn(25, 20, 32 if kind == "projected" else 64)
    exact, before = results(truth, x, seeds), results(ours, x, seeds)
    request.getfixturevalue("medium")
    narrow = results(ours, x, seeds)
    torch.set_float32_matmul_precision("high")
    after = results(ours, x, seeds)
    narrow_products = rnnfast.cpu_target() in ("amx", "avx512_bf16", "amx_emulated")
    for one, other, between, right in zip(before, after, narrow, exact, strict=True):
        assert torch.equal(one, other)
        assert between.dtype == torch.float32
        # With relu a sum may change its sign by rounding, and so its whole gradient.
        bound = 0.06 if kind == "relu" else 0.01
        assert error(between, right) <= bound * right.square().mean().sqrt().item()
    assert torch.equal(narrow[0], before[0]) != narrow_products


def test_the_reference_agrees() -> None:
    layer = rnnfast.LSTM(9, 20, dtype=torch.bfloat16)
    x = torch.randn(6, 13, 9).bfloat16()
    zeros = torch.zeros(13, 20)
    weights = {
        "w_ih": layer.weight_ih_l0,
        "w_hh": layer.weight_hh_l0,
        "b_ih": layer.bias_ih_l0,
        "b_hh": layer.bias_hh_l0,
    }
    wide = {name: weight.float() for name, weight in weights.items()}
    expected = reference.layer("lstm", x.float(), zeros, c0=zeros, **wide)[0]
    torch.testing.assert_close(layer(x)[0].float(), expected, rtol=1e-2, atol=1e-2)
