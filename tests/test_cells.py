"""The cells beside those of torch: values, gradients of both orders, types, errors, and tools of torch."""

import copy
import pickle
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

import rnnfast
from rnnfast.nn import steps

KINDS = ["RNNCell", "GRUCell", "LSTMCell"]

pytestmark = pytest.mark.usefixtures("nan_filled")


def pair(kind: str, *sizes: int, **options: Any) -> tuple[nn.RNNCellBase, nn.RNNCellBase]:
    """A cell of torch's and one of rnnfast's with the same weights."""
    theirs, ours = (getattr(package, kind)(*sizes, **options) for package in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def state_of(kind: str, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
    h = torch.randn(shape, dtype=dtype)
    return (h, torch.randn(shape, dtype=dtype)) if kind == "LSTMCell" else h


def tensors(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, tuple) else [value]


TOLERANCES = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 0.03}


@pytest.mark.parametrize("seed", range(60))
def test_random_cells_give_what_torch_gives(seed: int) -> None:
    choose = random.Random(seed)
    torch.manual_seed(seed)
    kind = choose.choice(KINDS)
    options: dict[str, Any] = {"bias": choose.random() < 0.7}
    if kind == "RNNCell":
        options["nonlinearity"] = choose.choice(["tanh", "relu"])
    dtype = choose.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16])
    sizes = choose.choice([1, 3, 17, 64, 65, 130]), choose.choice([1, 2, 15, 16, 33, 64, 96, 200])
    rows = choose.choice([None, 1, 2, 7, 8, 9, 31, 97, 200])
    theirs, ours = pair(kind, *sizes, dtype=dtype, **options)
    lead = () if rows is None else (rows,)
    x = torch.randn(*lead, sizes[0], dtype=dtype)
    if rows and choose.random() < 0.3:  # every other row of a larger tensor
        x = torch.randn(2 * rows, sizes[0], dtype=dtype)[::2]
    hx = state_of(kind, *lead, sizes[1], dtype=dtype) if choose.random() < 0.8 else None
    close = {"rtol": TOLERANCES[dtype], "atol": TOLERANCES[dtype]}
    with torch.no_grad():  # the short way
        for found, right in zip(tensors(ours(x, hx)), tensors(theirs(x, hx)), strict=True):
            torch.testing.assert_close(found, right, **close)
    results = []
    states = [] if hx is None else tensors(hx)
    for cell in (theirs, ours):
        leaves = [x, *states, *cell.parameters()]
        for each in leaves:
            each.requires_grad_()
        outputs = tensors(cell(x, hx))
        total = sum((y.sin() * (2 + place)).sum() for place, y in enumerate(outputs))
        results.append((outputs, torch.autograd.grad(total, leaves)))
    for found, right in zip(*(outputs + list(grads) for outputs, grads in results), strict=True):
        assert found.dtype == right.dtype
        scale = right.detach().abs().max().clamp(min=1).item()
        torch.testing.assert_close(found / scale, right / scale, **close)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind: str) -> None:
    theirs, ours = pair(kind, 3, 4, dtype=torch.float64)
    found = []
    for cell in (theirs, ours):
        torch.manual_seed(0)
        x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        hx = state_of(kind, 2, 4, dtype=torch.float64)
        leaves = [x, *tensors(hx), *cell.parameters()]
        for each in leaves:
            each.requires_grad_()
        total = sum(y.pow(3).sum() for y in tensors(cell(x, hx)))
        first = torch.autograd.grad(total, leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    for one, right in zip(*found, strict=True):
        torch.testing.assert_close(one, right, rtol=1e-9, atol=1e-11)


def test_the_short_way_is_taken_where_nothing_but_numbers_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell, x, h = rnnfast.GRUCell(3, 4), torch.randn(2, 3), torch.randn(2, 4)
    taken = []
    short = steps.step
    monkeypatch.setattr(steps, "step", lambda *each: taken.append(1) or short(*each))
    cell(x, h)
    assert not taken, "it has no gradient"
    with torch.no_grad():
        expected = cell(x, h)
        assert taken == [1]
        for other in (x.double(), x.to("meta"), torch.randn(5, 3), torch.randn(2, 5)):
            with pytest.raises(RuntimeError):
                cell(other, h)
        with torch.autocast("cpu"):
            assert cell(x, h).dtype == torch.float32
        imaginary = (
            torch.complex(x, -x).conj().imag
        )  # numbers that stand in memory with the other sign
        torch.testing.assert_close(cell(imaginary, h), expected)
        assert taken == [1], "whatever is not plain goes the other way"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_those_of_torch(kind: str) -> None:
    theirs, ours = pair(kind, 3, 4)

    def state(*shape: int) -> Any:
        return state_of(kind, *shape)

    x = torch.randn(2, 3)
    calls: list[tuple[Any, ...]] = [
        (torch.randn(2, 5),),
        (x, state(2, 5)),
        (x, state(3, 4)),
        (x, state(1, 4)),
        (x, state(4)),
        (torch.randn(3), state(1, 4)),
        (x.double(),),
        (x, state_of(kind, 2, 4, dtype=torch.float64)),
        (torch.randn(2, 3, 1),),
        (x, state(1, 1, 4)),
        ([1],),
        (x, "x"),
        (x, ()),
        (x, torch.randn(2, 2, 4)),
        (x, (torch.randn(2, 4),)),
        (x, (torch.randn(2, 4), torch.randn(2, 5))),
        (x.long(),),
        (x.to("meta"),),
    ]
    for grads in (True, False):
        for call in calls:
            with torch.set_grad_enabled(grads):
                with pytest.raises(Exception) as right:  # noqa: PT011  (whichever torch raises)
                    theirs(*call)
                with pytest.raises(right.type):
                    ours(*call)
    nothing = torch.empty(0, 3)
    assert [y.shape for y in tensors(ours(nothing))] == [y.shape for y in tensors(theirs(nothing))]


def test_a_nonlinearity_that_is_none_is_refused_when_it_is_called() -> None:
    for cell in (nn.RNNCell(3, 4, nonlinearity="x"), rnnfast.RNNCell(3, 4, nonlinearity="x")):
        with pytest.raises(RuntimeError, match="Unknown nonlinearity: x"):
            cell(torch.randn(2, 3))


class Decoder(nn.Module):
    """A loop over a cell, as decoders have it."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(cell.hidden_size, 2)

    def forward(self, x: Tensor, state: Any) -> Tensor:
        for each in x.unbind():
            state = self.cell(each, state)
        return self.head(state[0] if isinstance(self.cell, nn.LSTMCell) else state)


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_model_that_is_compiled_exported_traced_and_swapped(kind: str) -> None:
    model = Decoder(getattr(nn, kind)(3, 4))
    x, state = torch.randn(5, 2, 3), state_of(kind, 2, 4)
    expected = model(x, state)
    parameters = list(model.parameters())
    assert rnnfast.accelerate(model).swapped == ("cell",)
    assert type(model.cell) is getattr(rnnfast, kind)
    assert isinstance(model.cell, getattr(nn, kind))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    for each in (
        model,
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.compile(model, fullgraph=True, backend="aot_eager"),
        torch.export.export(model, (x, state)).module(),
        torch.jit.trace(model, (x, state)),
    ):
        torch.testing.assert_close(each(x, state), expected)
        with torch.no_grad():
            torch.testing.assert_close(each(x, state), expected)
    with pytest.warns(UserWarning, match=f"compiles torch.nn.{kind}"):
        scripted = torch.jit.script(Decoder(getattr(rnnfast, kind)(3, 4)).cell)
    assert scripted(x[0], state)[0].shape[-1] == 4
    assert rnnfast.restore(model).swapped == ("cell",)
    assert type(model.cell) is getattr(nn, kind)
    torch.testing.assert_close(model(x, state), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_fx_has_a_cell_as_one_node(kind: str) -> None:
    class Once(nn.Module):
        def __init__(self, cell: nn.Module) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: Tensor, state: Any) -> Any:
            return self.cell(x, state)

    theirs, ours = pair(kind, 3, 4)
    graphs = [torch.fx.symbolic_trace(Once(cell)) for cell in (theirs, ours)]
    nodes = [[(node.op, node.target) for node in graph.graph.nodes] for graph in graphs]
    assert nodes[0] == nodes[1]
    x, state = torch.randn(2, 3), state_of(kind, 2, 4)
    for found, right in zip(*(tensors(graph(x, state)) for graph in graphs), strict=True):
        torch.testing.assert_close(found, right)


@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_counted_as_torchs(kind: str) -> None:
    counts = []
    for cell in pair(kind, 3, 4):
        x, state = torch.randn(2, 3), state_of(kind, 2, 4)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            cell(x, state)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_functional_calls_parametrizations_and_maps(kind: str) -> None:
    theirs, ours = pair(kind, 3, 4)
    x, state = torch.randn(2, 3), state_of(kind, 2, 4)
    halves = {name: p.detach() / 2 for name, p in ours.named_parameters()}
    with torch.no_grad():
        for cell in (theirs, ours):
            cell.eval()
        one, right = (functional_call(cell, halves, (x, state)) for cell in (ours, theirs))
        torch.testing.assert_close(one, right)
        others = [pair(kind, 3, 4)[1] for _ in range(3)]
        stacked, _ = stack_module_state(others)
        mapped = vmap(lambda weights: functional_call(ours, weights, (x, state)))(stacked)
        for place, each in enumerate(others):
            for found, expected in zip(tensors(mapped), tensors(each(x, state)), strict=True):
                torch.testing.assert_close(found[place], expected)
    slopes = [
        grad(lambda x, cell=cell: tensors(cell(x, state))[0].sum())(x) for cell in (ours, theirs)
    ]
    torch.testing.assert_close(*slopes)
    for cell in (theirs, ours):
        parametrizations.weight_norm(cell, "weight_hh")
    torch.testing.assert_close(ours(x, state), theirs(x, state))
    with torch.no_grad():
        torch.testing.assert_close(ours(x, state), theirs(x, state))
