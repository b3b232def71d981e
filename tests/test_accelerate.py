"""accelerate(): what is swapped keeps its parameters and its place, what is left has a reason."""

import pytest
import torch
from torch import nn

import rnnfast


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
