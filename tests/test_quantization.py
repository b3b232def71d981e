"""quantize(): a plain twin, the error that 8 bits explain, what is not a number, copies, tools of torch, refusals."""

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, library, nn
from torch.utils.flop_counter import FlopCounterMode

import rnnfast
from rnnfast.nn import ops, reference
from rnnfast.nn.quantization import pack, row_scales

pytestmark = pytest.mark.usefixtures("nan_filled")

ROOT = Path(__file__).parent.parent
KINDS = ("tanh", "relu", "gru", "lstm", "projected")
SHAPES = [
    (7, 5, 3, 63),
    (9, 33, 17, 130),
    (1, 1, 1, 1),
    (6, 1, 65, 129),
    (3, 101, 64, 16),
    (5, 17, 33, 64),
]
"""Time steps, batch, input, hidden: odd sizes, whole panels, one of everything, one row, more rows than a group."""


def made(kind: str, inputs: int, hidden: int, **options: Any) -> Any:
    if kind in ("tanh", "relu"):
        return rnnfast.RNN(inputs, hidden, nonlinearity=kind, **options).eval()
    if kind == "projected":
        return rnnfast.LSTM(inputs, hidden, proj_size=max(1, hidden // 2), **options).eval()
    return getattr(rnnfast, kind.upper())(inputs, hidden, **options).eval()


def rows_as_bytes(rows: Tensor, largest: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, width) as whole numbers and the scale of each, as the kernel makes them; all in float32."""
    inverse = torch.where(largest >= 1e-30, 127 / largest, 0.0)
    return (rows * inverse.unsqueeze(1)).round().double(), (largest / 127).double()


def twin(cell: str, x: Tensor, state: list[Tensor], weights: list[Any]) -> list[Tensor]:
    """A layer in one direction, x being (T, N, I), with the numbers of the kernel and float64 between them."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    (q_ih, s_ih), (q_hh, s_hh) = (
        (q.double(), s.double()) for q, s in map(row_scales, (w_ih, w_hh))
    )
    dynamic = cell == "rnn_relu" or w_hr is not None
    bound = state[0].abs().amax(1).clamp(min=1)
    states, outputs = tuple(each.double() for each in state), []

    def product(rows: Tensor, largest: Tensor, matrix: Tensor, scales: Tensor) -> Tensor:
        values, scale = rows_as_bytes(rows.float(), largest.float())
        return values @ matrix.T * scale.unsqueeze(1) * scales

    for t in range(len(x)):
        largest = states[0].abs().amax(1)
        if not dynamic:
            largest = bound if cell == "gru" or t == 0 else torch.ones_like(bound)
        by_x = product(x[t], x[t].abs().amax(1), q_ih, s_ih)
        by_h = product(states[0], largest, q_hh, s_hh)
        if b_ih is not None:
            by_x, by_h = by_x + b_ih, by_h + b_hh
        states = reference.CELLS[cell](by_x, by_h, states)
        if w_hr is not None:
            q_hr, s_hr = row_scales(w_hr)
            h = product(states[0], states[0].abs().amax(1), q_hr.double(), s_hr.double())
            states = (h, *states[1:])
        outputs.append(states[0])
    return [torch.stack(outputs), *states]


def size(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


def weights_of(layer: Any) -> tuple[str, list[Any]]:
    return layer.mode.lower(), [None if w is None else w.detach() for w in layer._weights()[0]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_error_is_that_of_eight_bits(kind: str, shape: tuple[int, int, int, int]) -> None:
    steps, batch, inputs, hidden = shape
    if kind == "projected" and hidden == 1:
        pytest.skip("a projection is narrower than the state")
    layer = made(kind, inputs, hidden, bias=batch != 33)
    x = torch.randn(steps, batch, inputs)
    x[:, batch // 2] *= 1e-3  # a row has its own scale
    x[0, 0] = 0
    width = layer.proj_size or hidden
    h0, c0 = torch.rand(batch, width) * 2 - 1, torch.randn(batch, hidden)
    h0[-1] *= 3 if kind != "relu" else 1
    h0[0] = 0
    cell, weights = weights_of(layer)
    state = [h0, c0] if cell == "lstm" else [h0]
    given: Any = tuple(each.unsqueeze(0) for each in state) if cell == "lstm" else h0.unsqueeze(0)
    expected = twin(cell, x, state, weights)
    wide = [None if w is None else w.double() for w in weights]
    c = c0.double() if cell == "lstm" else None
    exact = reference.layer(cell, x.double(), h0.double(), *wide, c0=c)
    assert rnnfast.quantize(layer).quantized == ("",)
    with torch.inference_mode():
        output, last = layer(x, given)
    found = [output, *(each[0] for each in (last if cell == "lstm" else (last,)))]
    first, plain_first = output[0], expected[0][0]  # a projection has bytes in between
    assert size(first - plain_first) <= (5e-3 if kind == "projected" else 1e-3) * size(plain_first)
    for mine, plain, right in zip(found, expected, exact, strict=True):
        # Activations are right to 11 bits, so bytes of later steps are rounded otherwise: noise as large.
        assert size(mine - plain) <= 1.5 * size(plain - right) + 1e-3 * size(right)
        assert size(mine - right) <= 0.05 * size(right) + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_in_both_directions_with_lengths_and_packed(kind: str) -> None:
    layer = made(kind, 9, 33, num_layers=2, bidirectional=True, batch_first=True)
    x, lengths = torch.randn(20, 13, 9), torch.randint(1, 14, (20,))
    for row, length in enumerate(lengths.tolist()):
        x[row, length:] = float("nan")
    with torch.inference_mode():
        exact, _ = layer(torch.nan_to_num(x), lengths=lengths)
        rnnfast.quantize(layer)
        output, last = layer(x, lengths=lengths)
        assert size(output - exact) <= 0.05 * size(exact)
        for row, length in enumerate(lengths.tolist()):
            assert not output[row, length:].any()
            alone = layer(x[row : row + 1, :length])[0]
            torch.testing.assert_close(output[row : row + 1, :length], alone, rtol=0, atol=0.01)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        again, last_again = layer(packed)
        unpacked = nn.utils.rnn.pad_packed_sequence(again, batch_first=True, total_length=13)[0]
        torch.testing.assert_close((unpacked, last_again), (output, last), rtol=0, atol=0.01)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("batch", [3, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_makes_its_row_nan_from_then_on(
    kind: str, batch: int, bad: float
) -> None:
    layer = made(kind, 40, 37)
    rnnfast.quantize(layer)
    x = torch.randn(6, batch, 40)
    state = [torch.zeros(1, batch, width) for width in (layer.proj_size or 37, 37)]
    hx: Any = tuple(state) if layer.mode == "LSTM" else state[0]
    with torch.inference_mode():
        clean = layer(x, hx)[0]
        x[2, 1, 39] = bad
        state[0][0, 2, 5] = bad
        if layer.mode == "LSTM":
            state[1][0, 0, 36] = bad
        output = layer(x, hx)[0]
    assert output[2:, 1].isnan().all()
    assert output[:, 2].isnan().all()
    if layer.mode == "LSTM":
        assert output[:, 0].isnan().all()
    torch.testing.assert_close(output[:2, 1], clean[:2, 1])
    torch.testing.assert_close(output[:, 3:], clean[:, 3:])


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_a_cell_gives_what_a_layer_gives(kind: str) -> None:
    cell, layer = getattr(rnnfast, kind)(11, 37).eval(), getattr(rnnfast, kind[:-4])(11, 37).eval()
    layer.load_state_dict({f"{name}_l0": each for name, each in cell.state_dict().items()})
    model = nn.ModuleList([cell, layer])
    assert str(rnnfast.quantize(model)) == "quantized 0\nquantized 1"
    x, h = torch.randn(5, 11), torch.rand(5, 37)
    state: Any = (h, h) if kind == "LSTMCell" else h
    with torch.inference_mode():
        after = cell(x, state)
        one = cell(x[0], tuple(each[0] for each in state) if kind == "LSTMCell" else h[0])
        given: Any = tuple(each[None] for each in state) if kind == "LSTMCell" else h[None]
        last = layer(x[None], given)[1]
    for mine, right, single in zip(
        *((each if isinstance(each, tuple) else (each,)) for each in (after, last, one)),
        strict=True,
    ):
        torch.testing.assert_close(mine, right[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(single, mine[0], rtol=0, atol=1e-5)


class Model(nn.Module):
    """A stack, and a cell on its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.cell = rnnfast.GRU(3, 20, 2, bidirectional=True), rnnfast.LSTMCell(40, 5)

    def forward(self, x: Tensor) -> Any:
        return self.cell(self.layer(x)[0][-1])[0]


def test_saved_loaded_copied_compiled_and_exported() -> None:
    model, x = Model().eval(), torch.randn(6, 4, 3)
    before = sum(p.numel() for p in model.parameters())
    assert str(rnnfast.quantize(model)) == "quantized layer\nquantized cell"
    assert not list(model.parameters())
    assert sum(b.numel() for b in model.buffers()) < 4 * before
    other = Model().eval()
    rnnfast.quantize(other)
    with torch.inference_mode():
        expected = model(x)
        assert not torch.equal(other(x), expected)
        other.load_state_dict(model.state_dict())
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for each in (
            other,
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(file, weights_only=False),
            model.to(torch.bfloat16),  # there is nothing that could be rounded
        ):
            assert torch.equal(each(x), expected)
        for made_of_it in (
            torch.compile(model, fullgraph=True, backend="aot_eager"),
            torch.export.export(model, (x,)).module(),
            torch.jit.trace(model, (x,)),
        ):
            torch.testing.assert_close(made_of_it(x), expected, rtol=0, atol=1e-5)
        narrow = model(x.bfloat16())
        assert narrow.dtype == torch.bfloat16
        torch.testing.assert_close(narrow.float(), expected, rtol=0.05, atol=0.02)
    assert isinstance(model.layer, nn.GRU)


def test_operations_are_counted_as_those_of_floats() -> None:
    layer, x = made("projected", 9, 20), torch.randn(5, 3, 9)
    counts = []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            layer(x)
        counts.append(counter.get_total_flops())
        rnnfast.quantize(layer)
    assert counts[0] == counts[1] > 0


def test_bytes_take_a_quarter_of_the_floats() -> None:
    layer = rnnfast.LSTM(256, 256)
    floats = sum(p.numel() * 4 for p in layer.parameters())
    rnnfast.quantize(layer)
    assert sum(b.numel() * b.element_size() for b in layer.buffers()) < 0.27 * floats


def test_opcheck() -> None:
    for cell, gates in ops.CELLS.items():
        packed = pack(cell, torch.randn(gates * 5, 2), torch.randn(gates * 5, 5))
        c0 = torch.randn(3, 5) if cell == "lstm" else None
        arguments = (torch.randn(4, 3, 2), torch.randn(3, 5), c0, packed, None, None, False, False)
        library.opcheck(
            torch.ops.rnnfast.quantized_layer.default,
            (ops.NUMBERS[cell], *arguments),
            test_utils=("test_schema", "test_faketensor"),
        )


@pytest.mark.parametrize("batch", [1, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_threads_give_the_same_outputs(kind: str, batch: int) -> None:
    layer = made(kind, 64, 256)
    rnnfast.quantize(layer)
    x, threads, found = torch.randn(30, batch, 64), torch.get_num_threads(), []
    try:
        for each in (1, 2):
            torch.set_num_threads(each)
            with torch.inference_mode():
                found.append(layer(x)[0])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*found, rtol=0, atol=0.01)


def test_training_is_refused() -> None:
    layer, x = rnnfast.GRU(3, 4), torch.randn(5, 2, 3)
    rnnfast.quantize(layer)
    with pytest.raises(RuntimeError, match=r"must be in evaluation mode.*call model\.eval\(\)"):
        layer(x)
    layer.eval()
    layer(x)
    with pytest.raises(RuntimeError, match="must not require a gradient"):
        layer(x.requires_grad_())
    with torch.no_grad():
        layer(x)
    with pytest.raises(
        RuntimeError, match=r"must be float32, bfloat16 or float16, got: torch\.float64"
    ):
        layer(torch.randn(5, 2, 3, dtype=torch.float64))
    layer.packed_l0 = layer.packed_l0[:-1]
    for tool in (torch.inference_mode, torch.no_grad):
        with tool(), pytest.raises(RuntimeError, match="bytes"):
            layer(torch.randn(5, 2, 3))


def test_what_cannot_be_quantized_has_a_reason() -> None:
    wrong = rnnfast.GRU(3, 4)
    with torch.no_grad():
        wrong.weight_hh_l0[0, 0] = float("nan")
    model = nn.ModuleDict(
        {
            "torch's": nn.GRU(3, 4),
            "wide": rnnfast.GRU(3, 4).double(),
            "nan": wrong,
            "elsewhere": rnnfast.GRUCell(3, 4, device="meta"),
            "ok": rnnfast.GRU(3, 4),
        }
    )
    report = rnnfast.quantize(model)
    assert report.quantized == ("ok",)
    assert "accelerate" in report.left["torch's"]
    assert "dtype must be float32" in report.left["wide"]
    assert "finite" in report.left["nan"]
    assert "device must be cpu" in report.left["elsewhere"]
    assert rnnfast.quantize(model).left["ok"] == "it is quantized already"
    assert "ok" in rnnfast.freeze(model).left
    assert "ok" in rnnfast.restore(model).left


PROGRAM = """
import torch, rnnfast
from rnnfast.nn import ops
torch.manual_seed(0)
found = []
kinds = ("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("GRU", {}), ("LSTM", {}), ("LSTM", {"proj_size": 9})
for kind, options in kinds:
    for steps, batch, inputs, hidden in ((5, 7, 3, 63), (4, 100, 17, 33), (6, 1, 65, 130), (3, 5, 1, 10)):
        layer = getattr(rnnfast, kind)(inputs, hidden, 2, bidirectional=True, **options).eval()
        rnnfast.quantize(layer)
        with torch.inference_mode():
            found.append(layer(torch.randn(steps, batch, inputs))[0])
torch.save(found, {path!r})
print(ops.cpu_target(), ops.cpu_target_ran())
"""

BASES = {"avx512_bf16": "avx512_vnni"}
"""What multiplies bytes where a target has no kernels of its own for them."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("targets")

    def run(target: str) -> list[Tensor]:
        path = folder / f"{target}.pt"
        if not path.exists():
            environment = {**os.environ, "RNNFAST_CPU_TARGET": target}
            command = [sys.executable, "-c", PROGRAM.replace("{path!r}", repr(str(path)))]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert done.stdout.split() == [target, BASES.get(target, target)]
        return torch.load(path)

    return run


@pytest.mark.parametrize(
    "target",
    [
        *("amx", "avx512_bf16", "avx512_vnni", "avx512", "avx_vnni", "avx2"),
        *("neon_dotprod", "neon", "amx_emulated"),
    ],
)
def test_every_target_gives_the_same_from_the_same_bytes(target: str, results: Any) -> None:
    if target not in rnnfast.cpu_targets():
        pytest.skip(f"this machine has no {target}")
    for mine, plain in zip(results(target), results("generic"), strict=True):
        torch.testing.assert_close(mine, plain, rtol=0, atol=0.02 * max(1, plain.abs().max()))
        assert size(mine - plain) <= 0.01 * size(plain)
