"""accelerate() and restore(): what is swapped keeps its parameters and its place, what is left has a reason."""

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import rnnfast
from rnnfast.nn import ops

KINDS = ["RNN", "GRU", "LSTM"]


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.encoder = nn.RNN(4, 6, 2, bidirectional=True, batch_first=True)
        self.gate = nn.ModuleDict({"gru": nn.GRU(12, 3, batch_first=True)})
        self.head = nn.Linear(3, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.encoder(self.embedding(ids))
        return self.head(self.gate["gru"](hidden)[0])


class MyRNN(nn.RNN):
    pass


def test_an_optimizer_made_before_goes_on_working() -> None:
    torch.manual_seed(0)
    plain = Tagger()
    torch.manual_seed(0)
    model = Tagger()
    ids = torch.randint(10, (3, 7))
    parameters = list(model.parameters())
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.05) for m in (plain, model)]

    report = rnnfast.accelerate(model)

    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert report.swapped == ("encoder", "gate.gru")
    assert type(model.encoder) is rnnfast.RNN
    assert type(model.gate["gru"]) is rnnfast.GRU
    for _ in range(5):
        for each, optimizer in zip((plain, model), optimizers, strict=True):
            optimizer.zero_grad()
            each(ids).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(model(ids), plain(ids), rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == list(plain.state_dict())


def test_the_model_itself_shared_modules_and_hooks() -> None:
    layer = nn.RNN(3, 4)
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    report = rnnfast.accelerate(layer)
    assert report.swapped == ("",)
    layer(torch.randn(2, 1, 3))
    assert calls == [1]

    shared = nn.RNN(3, 3)
    model = nn.ModuleList([shared, shared])
    rnnfast.accelerate(model)
    assert model[0] is model[1] is shared
    assert type(shared) is rnnfast.RNN
    assert rnnfast.restore(model).swapped == ("0", "1")
    assert type(shared) is nn.RNN


def test_what_is_left_has_a_reason() -> None:
    model = nn.ModuleDict(
        {"mine": MyRNN(3, 4), "complex": nn.RNN(3, 4, dtype=torch.complex64), "ok": nn.RNN(3, 4)}
    )
    report = rnnfast.accelerate(model)
    assert report.swapped == ("ok",)
    assert "torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM" in report.left["mine"]
    assert type(model["mine"]) is MyRNN
    assert "MyRNN" in report.left["mine"]
    assert "dtype must be" in report.left["complex"]
    assert str(report).splitlines() == [
        "swapped ok",
        f"left mine: {report.left['mine']}",
        f"left complex: {report.left['complex']}",
    ]


def test_a_second_call_and_a_model_without_recurrence() -> None:
    model = nn.Sequential(nn.RNN(3, 4))
    rnnfast.accelerate(model)
    again = rnnfast.accelerate(model)
    assert (again.swapped, again.left) == ((), {})
    assert str(rnnfast.accelerate(nn.Linear(2, 2))) == "no recurrent layers found"


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_under_autocast_a_narrow_input_is_taken_as_by_torch(layer: type[nn.RNNBase]) -> None:
    before, recurrent = nn.Linear(3, 5), layer(5, 7)
    x = torch.randn(11, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = before(x)
        expected = recurrent(narrow)[0]
        rnnfast.accelerate(recurrent)
        output = recurrent(narrow)[0]
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected.float(), rtol=0.02, atol=0.02)


class Forecaster(nn.Module):
    """A model that asks which layer it holds, as textbooks do."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, state = self.recurrent(x)
        hidden = state[0][-1] if isinstance(self.recurrent, nn.LSTM) else state[-1]
        return self.head(hidden)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_may_ask_which_layer_it_holds(kind: str) -> None:
    model = Forecaster(getattr(nn, kind)(3, 4, 2))
    x = torch.randn(5, 2, 3)
    expected = model(x)
    rnnfast.accelerate(model)
    torch.testing.assert_close(model(x), expected)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    compiled(x).sum().backward()
    assert model.recurrent.weight_hh_l0.grad.abs().sum() > 0
    constructed = Forecaster(getattr(rnnfast, kind)(3, 4, 2))
    constructed.load_state_dict(model.state_dict())
    torch.testing.assert_close(constructed(x), expected)
    torch.testing.assert_close(torch.compile(constructed, fullgraph=True)(x), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_one_of_torch_by_every_question(kind: str) -> None:
    theirs, ours = getattr(nn, kind), getattr(rnnfast, kind)
    swapped = theirs(3, 4)
    rnnfast.accelerate(swapped)
    for layer in (ours(3, 4), swapped):
        same = (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)))
        for each in (layer, *same):
            assert isinstance(each, theirs)
            assert isinstance(each, nn.RNNBase)
            assert type(each) is ours
        others = [getattr(nn, other) for other in KINDS if other != kind]
        assert not isinstance(layer, tuple(others))
    assert issubclass(ours, theirs)
    assert type(swapped).__mro__.index(ours) < type(swapped).__mro__.index(theirs)

    def init(module: nn.Module) -> None:
        if isinstance(module, theirs):
            nn.init.constant_(module.weight_hh_l0, 0.5)

    model = nn.Sequential(ours(3, 4), swapped)
    model.apply(init)
    assert all((layer.weight_hh_l0 == 0.5).all() for layer in model)


def test_torchs_own_layers_are_compiled_as_without_rnnfast() -> None:
    x = torch.randn(5, 2, 3)
    with pytest.raises(Exception, match="RNN, GRU, or LSTM"):
        torch.compile(Forecaster(nn.LSTM(3, 4)), fullgraph=True, backend="eager")(x)
    assert not torch._dynamo.config.allow_rnn


@pytest.mark.parametrize("kind", KINDS)
def test_restore_undoes_it(kind: str) -> None:
    layer = getattr(nn, kind)(3, 4, 2, bidirectional=True)
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    model, x = nn.Sequential(layer), torch.randn(5, 2, 3)
    parameters, expected = list(model.parameters()), layer(x)[0]
    rnnfast.accelerate(model)
    report = rnnfast.restore(model)
    assert report == rnnfast.Acceleration(("0",), {})
    assert type(model[0]) is getattr(nn, kind)
    assert model[0] is layer
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(model(x)[0], expected)
    assert len(calls) == 2
    assert rnnfast.restore(model) == rnnfast.Acceleration((), {})
    with pytest.raises(TypeError):
        model[0](x, lengths=torch.tensor([5, 5]))


@pytest.mark.parametrize("kind", KINDS)
def test_restore_makes_a_constructed_layer_one_of_torch(kind: str) -> None:
    options: dict[str, Any] = {"nonlinearity": "relu"} if kind == "RNN" else {}
    layer, x = getattr(rnnfast, kind)(3, 4, **options), torch.randn(5, 2, 3)
    expected = layer(x)[0]
    assert rnnfast.restore(layer).swapped == ("",)
    assert type(layer) is getattr(nn, kind)
    torch.testing.assert_close(layer(x)[0], expected)
    twin = getattr(nn, kind)(3, 4, **options)
    twin.load_state_dict(layer.state_dict())
    assert repr(twin) == repr(layer)
    assert torch.equal(twin(x)[0], layer(x)[0])
    assert not rnnfast.restore(nn.LSTM(3, 4)).swapped


class WeightDrop(nn.Module):
    """Drops weights between the states: it takes them out of the layer and sets others at every call."""

    def __init__(self, module: nn.RNNBase, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names
        for name in names:
            raw = module._parameters.pop(name)
            self.register_parameter(f"{name}_raw", nn.Parameter(raw.data))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            raw = getattr(self, f"{name}_raw")
            dropped = nn.functional.dropout(raw, 0.5, self.training)
            setattr(self.module, name, dropped.clone())
        return self.module(x)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_a_wrapper_sets_at_every_call(kind: str) -> None:
    x = torch.randn(5, 2, 3)
    first = getattr(nn, kind)(3, 4)
    names = list(first._parameters)
    for taken in (names, ["weight_hh_l0"]):
        inner = getattr(nn, kind)(3, 4)
        model = nn.ModuleList([nn.LSTM(3, 4), WeightDrop(inner, taken), nn.GRU(3, 4)]).eval()
        report = rnnfast.accelerate(model)
        assert report.swapped == ("0", "2")
        assert list(report.left) == ["1.module"]
        reason = report.left["1.module"]
        assert f"it has no {taken[0]}" in reason
        assert f"construct rnnfast.{kind}" in reason
        expected = model[1](x)
        assert rnnfast.accelerate(model).swapped == ("1.module",), "they are there after a call"
        torch.testing.assert_close(model[1](x), expected)
        constructed = WeightDrop(getattr(rnnfast, kind)(3, 4), taken).eval()
        constructed.load_state_dict(model[1].state_dict())
        torch.testing.assert_close(constructed(x), expected)
        rnnfast.restore(model)
        torch.testing.assert_close(model[1](x), expected)


def test_what_fails_on_the_way_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.RNN(3, 4), nn.GRU(3, 4, dtype=torch.float64), nn.LSTM(3, 4))
    asked = ops.why_not

    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        if dtype == torch.float64:
            raise ZeroDivisionError
        return asked(device, dtype)

    with monkeypatch.context() as patch:
        patch.setattr(ops, "why_not", why_not)
        with pytest.raises(ZeroDivisionError):
            rnnfast.accelerate(model)
    assert [type(each) for each in model] == [nn.RNN, nn.GRU, nn.LSTM]
    assert rnnfast.accelerate(model).swapped == ("0", "1", "2")


def mixed(name: str, **to: Any) -> nn.LSTM:
    layer = nn.LSTM(3, 4)
    setattr(layer, name, nn.Parameter(getattr(layer, name).to(**to)))
    return layer


def parametrized(layer: nn.Module) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            lambda: mixed("bias_hh_l0", dtype=torch.float64),
            "one dtype, .* bias_hh_l0 torch.float64",
        ),
        (lambda: mixed("weight_hh_l0", device="meta"), "one device, .* weight_hh_l0 meta"),
        (lambda: parametrized(nn.GRU(3, 4)), "call accelerate before register_parametrization"),
        (lambda: torch.jit.script(nn.LSTM(3, 4)), "TorchScript"),
        (
            lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(3, 4)))[0],
            "quantized",
        ),
        (lambda: nn.LSTM(3, 4).to(torch.float8_e4m3fn), "dtype must be"),
        (lambda: MyRNN(3, 4), "its type must be one of"),
    ],
    ids=["dtypes", "devices", "parametrized", "scripted", "quantized", "float8", "derived"],
)
def test_neighbours_are_left_with_their_reason(made: Callable[[], nn.Module], reason: str) -> None:
    layer = made()
    kind = type(layer)
    report = rnnfast.accelerate(nn.ModuleDict({"odd": layer, "usual": nn.RNN(3, 4)}))
    assert report.swapped == ("usual",)
    assert list(report.left) == ["odd"]
    assert type(layer) is kind
    assert re.search(reason, report.left["odd"]), report.left


def test_a_parametrized_layer_of_rnnfast_is_not_restored() -> None:
    layer = parametrized(rnnfast.GRU(3, 4))
    assert not rnnfast.accelerate(layer).left, "it is fast as it is"
    report = rnnfast.restore(layer)
    assert report.swapped == ()
    assert "remove_parametrizations" in report.left[""]


def test_on_the_meta_device_and_then_elsewhere() -> None:
    model = nn.LSTM(3, 4, device="meta")
    assert rnnfast.accelerate(model).swapped == ("",)
    model = model.to_empty(device="cpu")
    source = nn.LSTM(3, 4)
    model.load_state_dict(source.state_dict())
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(model(x)[0], source(x)[0])
