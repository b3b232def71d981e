"""Derivatives beyond the first, derivatives forward, and torch.func, beside the reference and beside plain loops."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import rnnfast
from rnnfast.nn import ops, reference, transforms

pytestmark = pytest.mark.usefixtures("nan_filled")

CASES = [(cell, 0) for cell in ops.CELLS] + [("lstm", 2)]
"""Every cell, and the LSTM also with a projection."""

KINDS = ["plain", "lengths, batch first", "packed", "reverse lengths, no bias"]


def arguments(
    cell: str, projection: int, kind: str = "plain", steps: int = 3
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a layer that is differentiated, by name, and its other arguments."""
    batch, inputs, hidden, gates = 2, 2, 3, ops.CELLS[cell]
    width = projection or hidden
    shapes: dict[str, tuple[int, ...]] = {
        "input": (steps, batch, inputs),
        "h0": (batch, width),
        "w_ih": (gates * hidden, inputs),
        "w_hh": (gates * hidden, width),
    }
    options: dict[str, Any] = {}
    if kind == "lengths, batch first":
        shapes["input"] = (batch, steps, inputs)
        options = {"lengths": torch.tensor([1, steps]), "batch_first": True}
    if kind == "packed":
        shapes["input"] = (steps + 1, inputs)
        options = {"batch_sizes": torch.tensor([2] + [1] * (steps - 1))}
    if kind == "reverse lengths, no bias":
        options = {"lengths": torch.tensor([2, steps]), "reverse": True}
    else:
        shapes |= {"b_ih": (gates * hidden,), "b_hh": (gates * hidden,)}
    if cell == "lstm":
        shapes["c0"] = (batch, hidden)
    if projection:
        shapes["w_hr"] = (projection, hidden)
    return {
        name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()
    }, options


def assert_same(ours: Any, expected: Any) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_by_everything(cell: str, projection: int, kind: str) -> None:
    tensors, options = arguments(cell, projection, kind)

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        return ops.layer(cell, **dict(zip(tensors, values, strict=True)), **options)

    values = tuple(t.requires_grad_() for t in tensors.values())
    # By the gradients of the outputs, which gradgradcheck makes, as well.
    assert torch.autograd.gradgradcheck(run, values, fast_mode=True)
    assert torch.autograd.gradcheck(
        run,
        values,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        fast_mode=True,
    )


@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_every_order_and_direction(cell: str, projection: int, kind: str) -> None:
    tensors, options = arguments(cell, projection, kind)
    tangents = {name: torch.randn_like(t) for name, t in tensors.items()}
    some = {name: tensors[name] for name in ("input", "w_hh")}

    def results(layer: Callable[..., tuple[Tensor, ...]]) -> dict[str, Any]:
        def run(values: dict[str, Tensor]) -> tuple[Tensor, ...]:
            return layer(cell, **{**tensors, **values}, **options)

        def loss(values: dict[str, Tensor]) -> Tensor:
            return sum((y.pow(3).sum() for y in run(values)), torch.zeros(()).double())

        def slope(values: dict[str, Tensor]) -> Tensor:
            return sum((g.square().sum() for g in grad(loss)(values).values()), torch.zeros(()))

        def curve(values: dict[str, Tensor]) -> Tensor:
            return sum((g.square().sum() for g in grad(slope)(values).values()), torch.zeros(()))

        def dual() -> list[Any]:
            with forward_ad.dual_level():
                pairs = {n: forward_ad.make_dual(t, tangents[n]) for n, t in tensors.items()}
                return [forward_ad.unpack_dual(y).tangent for y in run(pairs)]

        return {
            "gradient": grad(loss)(tensors),
            "pullback": vjp(run, tensors)[1](run(tensors)),
            "third": grad(curve)(tensors),
            "forward": jvp(run, (tensors,), (tangents,)),
            "dual": dual(),
            "forward over backward": hessian(loss)(some),
            "backward over backward": jacrev(jacrev(loss))(some),
            "backward over forward": jacrev(jacfwd(loss))(some),
            "forward over forward": jacfwd(jacfwd(loss))(some),
        }

    assert_same(results(ops.layer), results(reference.layer))


def test_what_is_past_a_length_reaches_no_second_derivative() -> None:
    tensors, options = arguments("gru", 0, "lengths, batch first")
    tensors["input"][0, 1:] = float("nan")
    for t in tensors.values():
        t.requires_grad_()
    output, _ = ops.layer("gru", **tensors, **options)
    first = torch.autograd.grad(output.sum(), list(tensors.values()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), list(tensors.values()))
    assert all(g.isfinite().all() for g in (*first, *second))
    assert (second[0][0, 1:] == 0).all()


def test_only_second_derivatives_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = rnnfast.LSTM(2, 3), torch.randn(4, 2, 2, requires_grad=True)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the layer was run in plain torch")

    monkeypatch.setattr(transforms, "outputs", refuse)
    layer(x)[0].sum().backward()
    assert x.grad is not None
    assert not x.grad.requires_grad
    vmap(grad(lambda one: layer(one)[0].sum()))(x.detach().unsqueeze(0))
    (first,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(AssertionError, match="plain torch"):
        first.sum().backward()


class Peak(TorchDispatchMode):
    """The most bytes that tensors which operators made have had at a time, in ``most``."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.holders: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                self.hold(storage._cdata, storage.nbytes(), 1)
                weakref.finalize(x, self.hold, storage._cdata, storage.nbytes(), -1)
        return result

    def hold(self, storage: int, size: int, change: int) -> None:
        before = self.holders[storage] > 0
        self.holders[storage] += change
        self.now += size * ((self.holders[storage] > 0) - before)
        self.most = max(self.most, self.now)


@pytest.mark.parametrize("kind", ["plain", "lengths, batch first", "packed"])
@pytest.mark.parametrize(("cell", "projection"), CASES)
def test_the_memory_of_higher_derivatives_grows_linearly(
    cell: str, projection: int, kind: str
) -> None:
    def penalty(tensors: dict[str, Tensor], options: dict[str, Any]) -> None:
        x = tensors["input"].requires_grad_()
        w = tensors["w_hh"].requires_grad_()
        output = ops.layer(cell, **tensors, **options)[0]
        (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        torch.autograd.grad(slope.square().sum(), w)

    def forward(tensors: dict[str, Tensor], options: dict[str, Any]) -> None:
        def run(x: Tensor) -> Tensor:
            return ops.layer(cell, **{**tensors, "input": x}, **options)[0]

        jvp(run, (tensors["input"],), (torch.ones_like(tensors["input"]),))

    for use in (penalty, forward):
        made = []
        for steps in (40, 80):
            with Peak() as peak:
                use(*arguments(cell, projection, kind, steps))
            made.append(peak.most)
        assert made[0] > 0
        assert made[1] < 2.2 * made[0], use


MAPPED = {
    "input": {"input": 0},
    "input, last": {"input": -1},
    "h0": {"h0": 1},
    "rows": {"input": 1, "h0": 0, "c0": 1, "lengths": 0},
    "lengths": {"lengths": 0},
    "a weight": {"w_hh": 0},
    "weights": {"w_ih": 1, "w_hh": 0, "b_ih": 0, "b_hh": -1, "w_hr": 0},
    "all": dict.fromkeys(
        ("input", "h0", "c0", "lengths", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr"), 0
    ),
}


def looped(function: Callable[..., Any], dims: tuple[Any, ...], *values: Any) -> Any:
    """What vmap means: a loop, and the results stacked."""
    size = next(v.shape[d] for v, d in zip(values, dims, strict=True) if d is not None)
    results = [
        function(*(v if d is None else v.select(d, i) for v, d in zip(values, dims, strict=True)))
        for i in range(size)
    ]
    return torch.utils._pytree.tree_map(lambda *each: torch.stack(each), results[0], *results[1:])


@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mapped", MAPPED)
def test_vmap_is_a_loop(cell: str, projection: int, kind: str, mapped: str) -> None:
    tensors, options = arguments(cell, projection, kind)
    dims = {**dict.fromkeys((*tensors, "lengths"))}
    for name, dim in MAPPED[mapped].items():
        if name in tensors:
            t = tensors[name]
            tensors[name] = torch.stack([t, t.flip(0), 2 * t], dim)
            dims[name] = dim
    lengths = options.pop("lengths", None)
    if lengths is not None and "lengths" in MAPPED[mapped]:
        lengths, dims["lengths"] = torch.stack([lengths, lengths.flip(0), lengths]), 0
    if all(dim is None for dim in dims.values()):
        pytest.skip("this layer has nothing to map")
    values = (*tensors.values(), lengths)
    floats = tuple(range(len(tensors)))

    def run(*each: Any) -> tuple[Tensor, ...]:
        return ops.layer(cell, **dict(zip(dims, each, strict=True)), **options)

    def loss(*each: Any) -> Tensor:
        return sum((y.square().sum() for y in run(*each)), torch.zeros(()).double())

    in_dims = tuple(dims.values())
    for function in (run, grad(loss, floats), grad(loss), jacfwd(loss)):
        assert_same(vmap(function, in_dims)(*values), looped(function, in_dims, *values))
    # The other way about: what vmap returns can be differentiated.
    total = vmap(loss, in_dims), lambda *each: looped(loss, in_dims, *each)
    ours, expected = (grad(lambda *each, f=f: f(*each).sum(), floats)(*values) for f in total)
    assert_same(ours, expected)


def test_vmap_within_vmap() -> None:
    tensors, _ = arguments("gru", 0)
    names = tuple(tensors)
    many = {**tensors, "w_hh": torch.stack([tensors["w_hh"], 2 * tensors["w_hh"]])}
    many["input"] = torch.randn(3, 4, *tensors["input"].shape, dtype=torch.float64)

    def loss(*each: Tensor) -> Tensor:
        return ops.layer("gru", **dict(zip(names, each, strict=True)))[0].square().sum()

    inner = tuple(0 if name == "input" else None for name in names)
    middle = tuple(0 if name == "w_hh" else None for name in names)
    for function in (loss, grad(loss, (0, 3)), hessian(loss)):
        ours = vmap(vmap(vmap(function, inner), middle), inner)(*many.values())
        expected = looped(
            lambda *each, f=function: looped(
                lambda *deeper: looped(f, inner, *deeper), middle, *each
            ),
            inner,
            *many.values(),
        )
        assert_same(ours, expected)


def modules() -> Iterable[nn.RNNBase]:
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}
    yield rnnfast.RNN(2, 3, **options)
    yield rnnfast.GRU(2, 3, batch_first=True, **options)
    yield rnnfast.LSTM(2, 3, proj_size=1, **options)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("kind", ["batch", "one row", "lengths", "packed"])
def test_an_ensemble_and_gradients_of_each_sample(index: int, kind: str) -> None:
    models = [list(modules())[index] for _ in range(3)]
    layer = models[0]
    x = torch.randn(4, 5, 3, 2, dtype=torch.float64)
    lengths = torch.tensor([2, 5, 3] if not layer.batch_first else [1, 3, 2, 3, 1])
    if kind == "one row":
        x = x[:, :, 0]
    if kind == "packed":
        packed = pack_padded_sequence(x[0], lengths, layer.batch_first, enforce_sorted=False)
        x = torch.stack([packed.data * number for number in range(4)])

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        given: Any = (sample,)
        if kind == "lengths":
            given = (sample, None, lengths)
        if kind == "packed":
            given = (PackedSequence(sample, *packed[1:]),)
        output = functional_call(layer, parameters, given)[0]
        return (output.data if kind == "packed" else output).square().sum()

    stacked = torch.func.stack_module_state(models)[0]
    each = [{name: p.detach() for name, p in m.named_parameters()} for m in models]
    ensemble = vmap(grad(loss), (0, None))(stacked, x[0])
    samples = vmap(grad(loss, (0, 1)), (None, 0))(each[0], x)
    for number, parameters in enumerate(each):
        assert_same({k: g[number] for k, g in ensemble.items()}, grad(loss)(parameters, x[0]))
    for number, sample in enumerate(x):
        by_weights, by_input = grad(loss, (0, 1))(each[0], sample)
        assert_same({k: g[number] for k, g in samples[0].items()}, by_weights)
        assert_same(samples[1][number], by_input)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_functional_call_runs_with_the_weights_that_it_is_given(dtype: torch.dtype) -> None:
    layer, other = rnnfast.GRU(2, 3), rnnfast.GRU(2, 3)
    x = torch.randn(4, 2, 2)
    before = layer(x)[0]
    parameters = {name: p.detach().to(dtype) for name, p in other.named_parameters()}
    output = functional_call(layer, parameters, (x.to(dtype),))[0]
    assert torch.equal(output, other.to(dtype)(x.to(dtype))[0])
    assert torch.equal(layer(x)[0], before)


def test_a_parametrization_is_seen() -> None:
    class Half(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    layer = rnnfast.RNN(2, 3)
    twin = rnnfast.RNN(2, 3)
    twin.load_state_dict(layer.state_dict())
    with torch.no_grad():
        twin.weight_hh_l0 /= 2
    nn.utils.parametrize.register_parametrization(layer, "weight_hh_l0", Half())
    x = torch.randn(4, 2, 2)
    assert torch.equal(layer(x)[0], twin(x)[0])


def test_within_torch_compile_it_is_left_out() -> None:
    layer, x = rnnfast.GRU(2, 3), torch.randn(4, 2, 2)
    many = {name: torch.stack([p.detach()] * 2) for name, p in layer.named_parameters()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return functional_call(layer, weights, (x,))[0].square().sum()

    function = vmap(grad(loss))
    compiled = torch.compile(function, backend="aot_eager")
    torch.testing.assert_close(compiled(many), function(many))
    torch._dynamo.reset()
    strict = torch.compile(function, backend="aot_eager", fullgraph=True)
    with pytest.raises(Exception, match=r"outside of torch\.compile"):
        strict(many)
