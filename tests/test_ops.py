"""The operator itself: torch's own checks of it, exact gradients, accuracy beside torch.nn, and what it refuses."""

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, library, nn
from torch.utils._python_dispatch import TorchDispatchMode

import rnnfast
from rnnfast.nn import ops, reference

pytestmark = pytest.mark.usefixtures("nan_filled")

CASES = [(cell, 0) for cell in ops.CELLS] + [("lstm", 3)]
"""Every cell, and the LSTM also with a projection."""


def tensors(
    cell: str,
    steps: int,
    batch: int,
    inputs: int,
    hidden: int,
    dtype: torch.dtype,
    projection: int = 0,
) -> dict[str, Tensor]:
    """The arguments of a layer by name, all with gradients."""
    gates, width = ops.CELLS[cell], projection or hidden
    shapes = {
        "input": (steps, batch, inputs),
        "h0": (batch, width),
        "w_ih": (gates * hidden, inputs),
        "w_hh": (gates * hidden, width),
        "b_ih": (gates * hidden,),
        "b_hh": (gates * hidden,),
    }
    if cell == "lstm":
        shapes["c0"] = (batch, hidden)
    if projection:
        shapes["w_hr"] = (projection, hidden)
    scale = hidden**-0.5  # the usual one: it keeps relu from growing without bound over the steps
    return {
        name: (torch.randn(shape, dtype=dtype) * scale).requires_grad_()
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_exact_in_float64(
    cell: str, projection: int, ragged: bool, reverse: bool
) -> None:
    lengths = torch.tensor([3, 4, 1]) if ragged else None
    arguments = tensors(cell, 4, 3, 2, 5, torch.float64, projection)

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(arguments, values, strict=True))
        return ops.layer(cell, **named, lengths=lengths, reverse=reverse)

    assert torch.autograd.gradcheck(run, tuple(arguments.values()))


@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_equals_the_reference_to_the_last_digits_of_float64(
    cell: str, projection: int, reverse: bool, ragged: bool
) -> None:
    arguments = tensors(cell, 11, 70, 9, 37, torch.float64, projection)
    options = {"lengths": torch.randint(1, 12, (70,)) if ragged else None, "reverse": reverse}
    expected = reference.layer(cell, **arguments, **options)
    output = ops.layer(cell, **arguments, **options)
    torch.testing.assert_close(output, expected, rtol=1e-13, atol=1e-13)
    seeds = [torch.randn_like(y) for y in expected]
    wanted = torch.autograd.grad(expected, list(arguments.values()), seeds)
    gradients = torch.autograd.grad(output, list(arguments.values()), seeds)
    torch.testing.assert_close(gradients, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize(
    ("steps", "batch"),
    [(1, 1), (1, 2), (1, 3), (1, 4), (2, 5), (4, 3), (2, 11), (1, 32), (1, 41), (3, 17), (7, 13)],
)
@pytest.mark.parametrize("kind", ["plain", "no bias", "lengths", "two threads"])
def test_few_steps_equal_the_reference(
    cell: str, projection: int, steps: int, batch: int, kind: str
) -> None:
    """Few vectors have ways of their own through the weights and into their gradients."""
    arguments = tensors(cell, steps, batch, 75, 137, torch.float64, projection)
    if kind == "no bias":
        del arguments["b_ih"], arguments["b_hh"]
    lengths = torch.randint(1, steps + 1, (batch,)) if kind == "lengths" else None
    expected = reference.layer(cell, **arguments, lengths=lengths)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if kind == "two threads" else 1)
    try:
        output = ops.layer(cell, **arguments, lengths=lengths)
        torch.testing.assert_close(output, expected, rtol=1e-13, atol=1e-13)
        seeds = [torch.randn_like(y) for y in expected]
        gradients = torch.autograd.grad(output, list(arguments.values()), seeds)
    finally:
        torch.set_num_threads(threads)
    wanted = torch.autograd.grad(expected, list(arguments.values()), seeds)
    torch.testing.assert_close(gradients, wanted, rtol=1e-11, atol=1e-11)


ACCURACY_SHAPES = [
    (64, 16, 16, 64),
    (100, 9, 40, 200),
    # The benchmark's sizes, with fewer time steps or rows.
    (128, 32, 64, 64),
    (50, 32, 128, 128),
    (50, 32, 128, 256),
    (40, 16, 128, 512),
    (96, 64, 9, 64),
    (200, 16, 32, 128),
    (12, 32, 512, 1024),
    (64, 1, 128, 256),
    # One product or few: weights packed a part at a time, gradients written row by row.
    (1, 40, 100, 200),
    (3, 13, 300, 190),
    (4, 3, 50, 202),
    (3, 10, 5, 284),
    (1, 3, 19, 165),
]
"""Time steps, batch, input, hidden: the length of every sum matters, and there are sums over each of them."""


@pytest.mark.parametrize("shape", ACCURACY_SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm"])
def test_error_against_float64_is_at_most_that_of_torch(
    shape: tuple[int, int, int, int], kind: str
) -> None:
    """Root mean square over each output and gradient; the largest single error is a matter of luck.

    Where torch is all but exact, 1.5 units in the last place of a typical number will do.
    """
    steps, batch, inputs, hidden = shape

    def made(package: Any, **options: Any) -> nn.RNNBase:
        if kind in ("tanh", "relu"):
            return package.RNN(inputs, hidden, nonlinearity=kind, **options)
        return getattr(package, kind.upper())(inputs, hidden, **options)

    theirs, ours, truth = made(nn), made(rnnfast), made(nn, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    truth.load_state_dict(theirs.state_dict())
    x, seed = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)

    def run(layer: nn.Module, dtype: torch.dtype) -> list[Tensor]:
        leaf = x.to(dtype, copy=True).requires_grad_()
        output = layer(leaf)[0]
        return [output, *torch.autograd.grad(output, (leaf, *layer.parameters()), seed.to(dtype))]

    def error(value: Tensor, exact: Tensor) -> float:
        return (value.double() - exact).square().mean().sqrt().item()

    exact = run(truth, torch.float64)
    for mine, other, right in zip(
        run(ours, torch.float32), run(theirs, torch.float32), exact, strict=True
    ):
        rounding = right.square().mean().sqrt().item() * torch.finfo(torch.float32).eps
        assert error(mine, right) <= max(error(other, right) * 1.05, 1.5 * rounding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_right_to_two_units_in_the_last_place(dtype: torch.dtype) -> None:
    magnitudes = torch.logspace(-30, 1.4, 20_001, dtype=torch.float64)
    z = torch.cat([magnitudes, -magnitudes, torch.zeros(1)]).to(dtype)
    one, nothing = torch.ones(1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    h0 = torch.zeros(len(z), 1, dtype=dtype)
    output, _ = ops.layer("rnn_tanh", z[None, :, None], h0, one, nothing)
    # In float64 torch's own tanh stands for the truth, and may be off by a unit itself.
    units = 2 if dtype == torch.float32 else 4
    exact = torch.tanh(z.double())
    relative = ((output.flatten().double() - exact) / exact).nan_to_num().abs()
    assert relative.max() <= units * torch.finfo(dtype).eps


@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("kind", ["plain", "no bias", "lengths", "packed", "batch first, reverse"])
def test_opcheck(cell: str, projection: int, kind: str) -> None:
    t: dict[str, Tensor | None] = {**tensors(cell, 4, 3, 2, 5, torch.float64, projection)}
    other_way = kind == "batch first, reverse"
    lengths = torch.tensor([3, 4, 1]) if kind == "lengths" else None
    batch_sizes = torch.tensor([3, 2, 1, 1]) if kind == "packed" else None
    if kind == "packed":
        t["input"] = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    if other_way:
        t["input"] = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    if kind == "no bias":
        t["b_ih"] = t["b_hh"] = None
    names = ("input", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
    number = list(ops.CELLS).index(cell)
    arguments = (number, *map(t.get, names), lengths, batch_sizes, other_way, other_way, True)
    library.opcheck(torch.ops.rnnfast.layer.default, arguments)


def test_rows_do_not_depend_on_each_other_or_on_their_place() -> None:
    t = {
        name: value.detach() for name, value in tensors("gru", 9, 50, 3, 21, torch.float32).items()
    }
    lengths = torch.randint(1, 10, (50,))
    output, h_n = ops.layer("gru", **t, lengths=lengths)
    order = torch.randperm(50)
    shuffled = {**t, "input": t["input"][:, order], "h0": t["h0"][order]}
    again = ops.layer("gru", **shuffled, lengths=lengths[order])
    torch.testing.assert_close(again, (output[:, order], h_n[order]), rtol=0, atol=1e-6)


def test_inference_keeps_no_gates() -> None:
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if func is torch.ops.rnnfast.layer.default:
                sizes.append(result[3].numel())
            return result

    layer, x = rnnfast.LSTM(4, 8), torch.randn(50, 2, 4)
    with Watch():
        layer(x)
        with torch.no_grad():
            layer(x)
    assert sizes == [50 * 2 * 5 * 8, 0]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc 2.33 or later")
def test_a_training_step_leaves_nothing_behind() -> None:
    """Even a few bytes a call would keep the heap from closing its gaps, and so cost megabytes a step."""

    class Counts(ctypes.Structure):
        _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]

    counts = ctypes.CDLL(None).mallinfo2
    counts.restype = Counts
    layer, x = rnnfast.LSTM(4, 8, bidirectional=True), torch.randn(5, 2, 4, requires_grad=True)
    lengths = torch.tensor([5, 2])

    def used(steps: int) -> int:
        for _ in range(steps):
            layer(x, lengths=lengths)[0].sum().backward()
        return counts().field7  # bytes in use

    before = used(300)
    assert used(500) - before < 500 * 16


@pytest.mark.parametrize("kind", [rnnfast.RNN, rnnfast.GRU, rnnfast.LSTM])
def test_several_python_threads_at_once(kind: type[nn.RNNBase]) -> None:
    layer = kind(20, 40)
    inputs = [torch.randn(30, 20 + i, 20) for i in range(16)]
    expected = [layer(x)[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: layer(x)[0], inputs))
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


COUNT_THREADS = """
import os, torch, rnnfast
layer, x = rnnfast.RNN(64, 64), torch.randn(100, 64, 64)
for count in (1, 2):
    torch.set_num_threads(count)
    before = len(os.listdir("/proc/self/task"))
    with torch.no_grad():
        layer(x)
    print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts the threads of Linux")
def test_as_many_threads_as_torch_is_told() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "4"}
    run = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS], env=environment, capture_output=True, text=True
    )
    assert run.stdout.split() == ["0", "1"], run.stderr


def bad_arguments() -> dict[str, tuple[str, dict[str, Any]]]:
    packed = torch.zeros(5, 2)
    return {
        "w_ih": (r"w_ih must have the shape \(5, 2\), got: \(5, 3\)", {"w_ih": torch.zeros(5, 3)}),
        "w_hh": ("w_hh must have 2 dimensions, got: 1", {"w_hh": torch.zeros(5)}),
        "h0": (r"h0 must have the shape \(3, 5\)", {"h0": torch.zeros(2, 5)}),
        "one bias": ("b_ih and b_hh must be given together", {"b_ih": None}),
        "cell": ("one of rnn_tanh, .*, got: rnn_sine", {"cell": "rnn_sine"}),
        "gates": ("3 rows for each hidden unit of a gru, got: 5", {"cell": "gru"}),
        "c0": ("c0 must not be given for the cell rnn_tanh", {"c0": torch.zeros(3, 5)}),
        "no c0": (
            "c0 must be given for the cell lstm",
            {"cell": "lstm", "w_ih": torch.zeros(20, 2), "w_hh": torch.zeros(20, 5)},
        ),
        "w_hr": ("w_hr must not be given", {"w_hr": torch.zeros(5, 5)}),
        "both lengths": (
            "exclude each other",
            {"lengths": torch.tensor([1, 1, 1]), "batch_sizes": torch.tensor([3])},
        ),
        "batch sizes rise": ("never rise", {"input": packed, "batch_sizes": torch.tensor([2, 3])}),
        "batch sizes add up": ("add up", {"input": packed, "batch_sizes": torch.tensor([3, 1])}),
        "complex": ("dtype must be", {"input": torch.zeros(4, 3, 2, dtype=torch.complex64)}),
    }


@pytest.mark.parametrize("case", bad_arguments())
def test_bad_arguments_are_named(case: str) -> None:
    message, changes = bad_arguments()[case]
    values = tensors("rnn_tanh", 4, 3, 2, 5, torch.float32)
    arguments = {"cell": "rnn_tanh", **{name: t.detach() for name, t in values.items()}, **changes}
    with pytest.raises(RuntimeError, match=message):
        ops.layer(**arguments)


def test_what_a_step_keeps_goes_where_that_of_the_step_before_was() -> None:
    given = tensors("gru", 64, 16, 8, 160, torch.float32)
    flags = (None, None, False, False, 2)  # no lengths, no batch sizes, keep all

    def reserve() -> Tensor:
        names = ("input", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
        arguments = [given[name].detach() if name in given else None for name in names]
        return torch.ops.rnnfast.layer(ops.NUMBERS["gru"], *arguments, *flags)[3]

    first = reserve()
    where = first.data_ptr()
    second = reserve()
    assert second.data_ptr() != where  # still in use
    assert torch.equal(first, second)
    del first
    assert reserve().data_ptr() == where
