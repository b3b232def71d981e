"""freeze(): the same numbers from packed weights, a change that is noticed, copies, processes, and tools of torch."""

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnfast
from rnnfast.nn import ops, steps

ROOT = Path(__file__).parent.parent
KINDS = ["RNN", "GRU", "LSTM"]

pytestmark = pytest.mark.usefixtures("nan_filled")


def tensors(value: Any) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [*KINDS, *(f"{kind}Cell" for kind in KINDS)])
def test_a_frozen_module_gives_what_it_gave(kind: str, dtype: torch.dtype) -> None:
    is_cell = kind.endswith("Cell")
    for sizes in ((1, 1), (5, 33), (64, 130)):
        options: dict[str, Any] = {} if is_cell else {"num_layers": 2, "bidirectional": True}
        layer = getattr(rnnfast, kind)(*sizes, **options).to(dtype)
        for rows, time in ((1, 1), (1, 9), (7, 1), (9, 3), (100, 2), (3, 40)):
            shape = (rows, sizes[0]) if is_cell else (time, rows, sizes[0])
            x = torch.randn(shape, dtype=dtype)
            hx = torch.randn(*(() if is_cell else (4,)), rows, sizes[1], dtype=dtype)
            state: Any = (hx, hx.flip(0)) if kind.startswith("LSTM") else hx
            lengths = torch.randint(1, time + 1, (rows,))
            calls: list[Callable[[], Any]] = [lambda: layer(x, state), lambda: layer(x)]  # noqa: B023
            if not is_cell:
                calls.append(lambda: layer(x, state, lengths=lengths))  # noqa: B023
                calls.append(lambda: layer(x.flip(1).transpose(0, 1).contiguous().transpose(0, 1)))  # noqa: B023
            rnnfast.unfreeze(layer)
            with torch.no_grad():
                expected = tensors([call() for call in calls])
                assert rnnfast.freeze(layer).frozen == ("",)
                found = tensors([call() for call in calls])
            for one, right in zip(found, expected, strict=True):
                assert one.dtype == right.dtype
                close = {torch.bfloat16: 0.02, torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
                torch.testing.assert_close(one, right, rtol=close, atol=close)


def test_an_lstm_with_a_projection() -> None:
    layer = rnnfast.LSTM(5, 9, 2, proj_size=4, batch_first=True)
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 1, 4])
    with torch.no_grad():
        expected = tensors(layer(x, lengths=lengths))
        rnnfast.freeze(layer)
        torch.testing.assert_close(tensors(layer(x, lengths=lengths)), expected)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way calls went, as they go."""
    taken: list[str] = []
    for place, name, way in (
        (steps, "layer", "packed"),
        (steps, "step", "packed"),
        (ops, "stack", "op"),
    ):
        original = getattr(place, name)
        monkeypatch.setattr(
            place, name, lambda *a, f=original, w=way, **k: taken.append(w) or f(*a, **k)
        )
    return taken


def test_packed_weights_serve_calls_for_numbers_alone(ways: list[str]) -> None:
    layer, x = rnnfast.GRU(3, 4), torch.randn(5, 2, 3)
    rnnfast.freeze(layer)
    layer(x)[0].sum().backward()
    assert ways == ["op"], "a gradient is asked for"
    assert layer.weight_hh_l0.grad is not None
    with torch.inference_mode():
        layer(x)
    layer.requires_grad_(False)
    layer(x)
    assert ways == ["op", "packed", "packed"]
    layer(x.requires_grad_())
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    with torch.no_grad():
        layer(packed)
    assert ways[3:] == ["op", "op"]


CHANGES: dict[str, Callable[[Any], Any]] = {
    "in place": lambda layer: layer.weight_hh_l0.mul_(2),
    "one number": lambda layer: layer.bias_hh_l0[0].add_(1),
    "state_dict": lambda layer: layer.load_state_dict(rnnfast.GRU(3, 4).state_dict()),
    "another parameter": lambda layer: setattr(
        layer, "weight_ih_l0", nn.Parameter(torch.randn(12, 3))
    ),
    "data": lambda layer: setattr(layer.weight_ih_l0, "data", torch.randn(12, 3)),
    "dtype": lambda layer: layer.double(),
    "optimizer": lambda layer: optimized(layer),
}


def optimized(layer: nn.Module) -> None:
    with torch.enable_grad():
        layer(torch.randn(5, 2, 3))[0].sum().backward()
    torch.optim.Adam(layer.parameters()).step()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_weights_is_an_error(change: str) -> None:
    layer = rnnfast.GRU(3, 4)
    model = nn.Sequential(layer)
    rnnfast.freeze(model)
    with torch.no_grad():
        layer(torch.randn(5, 2, 3))
        CHANGES[change](layer)
        x = torch.randn(5, 2, 3, dtype=layer.weight_ih_l0.dtype)
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"must stay as .* call it again"):
                model(x)
        rnnfast.freeze(model)
        found = model(x)[0]
        rnnfast.unfreeze(model)
        torch.testing.assert_close(found, model(x)[0])


def test_the_same_numbers_elsewhere_are_no_change() -> None:
    layer, x = rnnfast.LSTM(3, 4), torch.randn(5, 2, 3)
    rnnfast.freeze(layer)
    with torch.no_grad():
        expected = layer(x)[0]
        layer.load_state_dict(layer.state_dict())
        assert torch.equal(layer(x)[0], expected)
        layer.share_memory()
        assert torch.equal(layer(x)[0], expected)


def test_copies_are_frozen_and_share_what_is_packed(ways: list[str]) -> None:
    layer, x = rnnfast.GRU(3, 4), torch.randn(5, 2, 3)
    rnnfast.freeze(layer)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    copied = copy.deepcopy(layer)
    assert copied._frozen.packed[0].data_ptr() == layer._frozen.packed[0].data_ptr()
    with torch.no_grad():
        expected = layer(x)[0]
        for each in (
            copied,
            pickle.loads(pickle.dumps(layer)),
            torch.load(file, weights_only=False),
        ):
            assert torch.equal(each(x)[0], expected)
            assert ways[-1] == "packed"
            each.weight_hh_l0.add_(1)
            with pytest.raises(RuntimeError, match="must stay"):
                each(x)
        assert torch.equal(layer(x)[0], expected)
    assert list(layer.state_dict()) == list(rnnfast.GRU(3, 4).state_dict())


def spawned(layer: nn.Module, x: Tensor, results: Any) -> None:
    with torch.no_grad():
        results.put((layer._frozen.packed[0].is_shared(), layer(x)[0].numpy()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_threads_and_processes_share_the_packed_weights(method: str) -> None:
    """In a process of its own: a fork would end what other tests have begun in this one."""
    program = f"from tests.test_freezing import shared_by; shared_by({method!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def shared_by(method: str) -> None:
    layer, x = rnnfast.GRU(3, 4), torch.randn(5, 2, 3)
    rnnfast.freeze(layer)
    with torch.no_grad():
        expected = layer(x)[0]

        def call(_: int) -> Tensor:
            with torch.inference_mode():
                return layer(x)[0]

        with ThreadPoolExecutor(4) as pool:
            assert all(torch.equal(each, expected) for each in pool.map(call, range(50)))
        context = torch.multiprocessing.get_context(method)
        results = context.SimpleQueue()
        process = context.Process(target=spawned, args=(layer, x, results))
        process.start()
        shared, found = results.get()
        process.join()
        assert process.exitcode == 0
        assert shared or method == "fork"
        assert torch.equal(torch.from_numpy(found), expected)
        assert torch.equal(layer(x)[0], expected), "where they stand now is no change"


def test_a_frozen_model_is_compiled_exported_and_traced() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.cell = rnnfast.GRU(3, 4), rnnfast.LSTMCell(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(self.layer(x)[0][-1])[0]

    model, x = Model(), torch.randn(5, 2, 3)
    assert str(rnnfast.freeze(model)) == "froze layer\nfroze cell"
    for grads in (True, False):
        with torch.set_grad_enabled(grads):
            expected = model(x)
            for made in (
                torch.compile(model, fullgraph=True, backend="aot_eager"),
                torch.export.export(model, (x,)).module(),
                torch.jit.trace(model, (x,)),
            ):
                torch.testing.assert_close(made(x), expected)
    rnnfast.restore(model)
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)
    assert "_frozen" not in model.layer.__dict__


def test_what_cannot_be_frozen_has_a_reason() -> None:
    with torch.inference_mode():
        unnoticed = rnnfast.GRU(3, 4)
    model = nn.ModuleDict(
        {
            "torch's": nn.GRU(3, 4),
            "parametrized": nn.utils.parametrizations.weight_norm(
                rnnfast.GRU(3, 4), "weight_hh_l0"
            ),
            "unnoticed": unnoticed,
            "elsewhere": rnnfast.GRUCell(3, 4, device="meta"),
            "head": nn.Linear(3, 4),
            "ok": rnnfast.GRU(3, 4),
        }
    )
    report = rnnfast.freeze(model)
    assert report.frozen == ("ok",)
    assert set(report.left) == {"torch's", "parametrized", "unnoticed", "elsewhere"}
    assert "accelerate" in report.left["torch's"]
    assert "inference mode" in report.left["unnoticed"]
    assert "device must be cpu" in report.left["elsewhere"]
    assert str(rnnfast.freeze(nn.Linear(2, 2))) == "no recurrent layers found"
