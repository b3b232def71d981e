"""Layers as operators of ONNX, by both of torch's exporters: the same numbers in ONNX Runtime."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnnfast

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

KINDS = {"tanh": "RNN", "relu": "RNN", "gru": "GRU", "lstm": "LSTM"}

EXPORTERS = [True, False]


def layer(kind: str, **options: Any) -> nn.RNNBase:
    if KINDS[kind] == "RNN":
        options["nonlinearity"] = kind
    return getattr(rnnfast, KINDS[kind])(3, 5, **options).eval()


class Model(nn.Module):
    """A layer as a model holds it, with outputs and inputs in a row, as ONNX has them."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(
        self,
        x: Tensor,
        h_0: Tensor | None = None,
        c_0: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        hx: Any = h_0 if c_0 is None else (h_0, c_0)
        options = {} if lengths is None else {"lengths": lengths}
        output, state = self.recurrent(x, hx, **options)
        return (output, *state) if isinstance(self.recurrent, nn.LSTM) else (output, state)


def inputs(recurrent: nn.RNNBase, batch: int, steps: int, state: bool, lengths: bool) -> dict:
    x = torch.randn(*((batch, steps) if recurrent.batch_first else (steps, batch)), 3)
    given = {"x": x}
    places = recurrent.num_layers * (1 + recurrent.bidirectional)
    if state:
        given["h_0"] = torch.randn(places, batch, 5)
        if isinstance(recurrent, nn.LSTM):
            given["c_0"] = torch.randn(places, batch, 5)
    if lengths:
        given["lengths"] = torch.tensor([steps, 1, steps - 1, 2])[:batch]
    return given


def export(model: Model, given: dict[str, Tensor], path: Path, dynamo: bool) -> Any:
    """A session of ONNX Runtime, its time steps and batch rows left open; and how many nodes of which operator."""
    time, rows = (1, 0) if model.recurrent.batch_first else (0, 1)
    names = {"x": {time: "T", rows: "N"}, "h_0": {1: "N"}, "c_0": {1: "N"}, "lengths": {0: "N"}}
    axes: Any = {name: names[name] for name in given}
    if dynamo:
        dims = {"T": torch.export.Dim("T"), "N": torch.export.Dim("N")}
        axes = {n: {place: dims[d] for place, d in each.items()} for n, each in axes.items()}
        options: dict[str, Any] = {"dynamic_shapes": axes, "verbose": False}
    else:
        options = {"dynamic_axes": axes, "input_names": list(given)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (), path, kwargs=given, dynamo=dynamo, **options)
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    return onnxruntime.InferenceSession(path), Counter(node.op_type for node in graph.graph.node)


def assert_same(session: Any, model: Model, given: dict[str, Tensor]) -> None:
    found = session.run(None, {name: x.numpy() for name, x in given.items()})
    for mine, expected in zip(found, model(**given), strict=True):
        torch.testing.assert_close(torch.from_numpy(mine), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dynamo", EXPORTERS, ids=["export", "trace"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "state", "lengths"),
    [
        ({}, False, False),
        ({"num_layers": 2, "bidirectional": True}, False, True),
        ({"num_layers": 2, "bidirectional": True, "batch_first": True}, True, False),
        ({"batch_first": True, "bias": False}, True, True),
    ],
)
def test_the_numbers_are_those_of_the_layer(
    dynamo: bool, kind: str, options: dict, state: bool, lengths: bool, tmp_path: Path
) -> None:
    model = Model(layer(kind, **options)).eval()
    given = inputs(model.recurrent, 3, 6, state, lengths)
    session, nodes = export(model, given, tmp_path / "model.onnx", dynamo)
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    assert nodes[KINDS[kind]] == layers
    assert not {"Loop", "Scan", "Tanh", "Sigmoid", "MatMul", "Gemm"} & set(nodes)
    for batch, steps in ((3, 6), (1, 4), (4, 9)):
        assert_same(session, model, inputs(model.recurrent, batch, steps, state, lengths))


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_program_and_an_accelerated_model(kind: str, tmp_path: Path) -> None:
    theirs = getattr(nn, KINDS[kind])(
        3, 5, **({"nonlinearity": kind} if len(kind) > 3 and KINDS[kind] == "RNN" else {})
    )
    model = Model(theirs).eval()
    given = inputs(theirs, 2, 4, False, False)
    expected = model(**given)
    rnnfast.accelerate(model)
    program = torch.export.export(model, (), given)
    torch.onnx.export(program, f=tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    found = session.run(None, {"x": given["x"].numpy()})
    for mine, each in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(mine), each, rtol=1e-4, atol=1e-5)


class Packing(Model):
    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        return self.recurrent(PackedSequence(x, torch.tensor([2, 2, 1])))[0].data


def refused() -> dict[str, tuple[str, Callable[[], tuple[Model, Tensor]]]]:
    projected = rnnfast.LSTM(3, 5, proj_size=2)
    return {
        "projection": ("proj_size=0", lambda: (Model(projected), torch.randn(4, 2, 3))),
        "packed": ("lengths=", lambda: (Packing(layer("gru")), torch.randn(5, 3))),
    }


@pytest.mark.parametrize("dynamo", EXPORTERS, ids=["export", "trace"])
@pytest.mark.parametrize("case", refused())
@pytest.mark.filterwarnings("ignore")
def test_what_onnx_has_no_operator_for_is_refused(case: str, dynamo: bool, tmp_path: Path) -> None:
    message, made = refused()[case]
    model, x = made()
    # The exporters wrap what stops them in errors of their own.
    with pytest.raises(Exception, match=r"Failed|rnnfast") as caught:
        torch.onnx.export(model.eval(), (x,), tmp_path / "m.onnx", dynamo=dynamo, verbose=False)
    reasons, error = [], caught.value
    while error is not None:
        reasons.append(str(error))
        error = error.__cause__ or error.__context__
    assert any("rnnfast: " in reason and message in reason for reason in reasons), reasons
    assert not (tmp_path / "m.onnx").exists()


def test_packing_stays_what_it_was_outside_of_an_export() -> None:
    recurrent = layer("gru")
    packed = pack_padded_sequence(torch.randn(3, 2, 3), torch.tensor([3, 2]))
    assert recurrent(packed)[0].data.shape == (5, 5)
