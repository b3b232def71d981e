"""The layer on a GPU, against the reference in float64: on a GPU where there is one, else in an emulator.

The emulator of ``tests/csrc/emulator`` runs the very kernels, and the binding over them, on tensors of the CPU: what
they compute, not how fast. What only a GPU has, such as streams and graphs, is tested on a GPU alone.
"""

import ctypes
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import emulated
import pytest
import torch
from torch import Tensor, library, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnfast
from rnnfast.nn import ops, reference
from rnnfast.nn.ops import operators, support

# What torch asks of cuBLAS before it fills new memory with NaN.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

pytestmark = pytest.mark.usefixtures("nan_filled")

ROOT = Path(__file__).parent.parent
CASES = [(cell, 0) for cell in ops.CELLS] + [("lstm", 3)]
"""Every cell, and the LSTM also with a projection."""
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
GPU = ops.HAS_CUDA and torch.cuda.is_available()

only_on_a_gpu = pytest.mark.skipif(not GPU, reason="needs a GPU and rnnfast built for it")


ALLOWED = SimpleNamespace(not_finite=False)
"""What a product may get; a test that gives the layer such numbers says so."""


def multiply(a: Tensor, b: Tensor, dtype: torch.dtype | None = None, *, out: Tensor) -> Tensor:
    """Torch's product, which must get nothing that padding holds: on some processors a row of NaN spoils others."""
    if not ALLOWED.not_finite and not math.isfinite(
        a.double().abs().sum() + b.double().abs().sum()
    ):
        raise AssertionError("a product gets what is not finite")
    return out.copy_(a.to(out.dtype) @ b.to(out.dtype))


@pytest.fixture(scope="session")
def emulated_gpu() -> Iterator[SimpleNamespace]:
    """The operators over emulated kernels, which are ``torch.ops.rnnfast_emulated``, and the library they are in."""
    define = library.Library("rnnfast_emulated", "DEF")
    for name in ("layer", "layer_backward"):
        schema = str(getattr(torch.ops.rnnfast, name).default._schema)
        define.define(schema.removeprefix("rnnfast::"))
    products = library.Library("aten", "IMPL", "CPU")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators", UserWarning)
        products.impl("mm.out", multiply)
        products.impl("mm.dtype_out", multiply)  # which torch has on GPUs alone
    folder = Path(torch.__file__).parent
    flags = (
        "-DRNNFAST_EMULATED",
        "-DTORCH_TARGET_VERSION=0x020b000000000000",
        "-Wno-attributes",  # torch's classes are hidden, ours in a library of its own need not be
        *("-isystem", str(folder / "include")),
        *(f"-L{folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"),
    )
    sources = [ROOT / "csrc/cuda/layer_cuda.cpp", ROOT / "csrc/arguments.cpp"]
    sources += [emulated.EMULATOR / "plain.cpp"]
    binding = str(emulated.shared_object("binding", *sources, flags=flags))
    torch.ops.load_library(binding)
    yield SimpleNamespace(ops=torch.ops.rnnfast_emulated, kernels=ctypes.CDLL(binding))
    define._destroy()
    products._destroy()


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=only_on_a_gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where the tensors are to be; with the emulator, ``rnnfast`` uses its operators until the test ends."""
    if request.param == "cuda":
        return torch.device("cuda")
    emulated = request.getfixturevalue("emulated_gpu").ops
    monkeypatch.setattr(torch.ops, "rnnfast", emulated)
    monkeypatch.setattr(operators, "LAYER", emulated.layer)
    monkeypatch.setattr(operators, "LAYER_BACKWARD", emulated.layer_backward)
    monkeypatch.setattr(support, "is_narrow", lambda input: False)
    return torch.device("cpu")


def tensors(
    cell: str, steps: int, batch: int, inputs: int, hidden: int, projection: int = 0
) -> dict[str, Tensor]:
    """The arguments of a layer by name, in float64, but of numbers that every type can hold."""
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
    scale = hidden**-0.5
    coarse = {
        name: (torch.randn(shape) * scale * 64).round() / 64 for name, shape in shapes.items()
    }
    if cell == "rnn_relu":  # far from its corner, where rounding would decide on the gradient
        coarse["input"][..., 0] = 1
        coarse["w_ih"][:, 0] = torch.randint(2, (hidden,)) * 4 - 2.0
        coarse["w_hh"] /= 8
    return {name: value.double() for name, value in coarse.items()}


def run(
    layer: Callable[..., tuple[Tensor, ...]],
    cell: str,
    values: dict[str, Tensor],
    seeds: list[Tensor],
    **options: Any,
) -> dict[str, Tensor]:
    """Outputs, and the gradients of their products with the seeds; in float64, on the CPU."""
    leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
    outputs = layer(cell, **leaves, **options)
    like = [seed.to(y) for seed, y in zip(seeds, outputs, strict=True)]
    found = torch.autograd.grad(outputs, list(leaves.values()), like)
    named = dict(zip(("output", "h_n", "c_n"), outputs, strict=False))
    named |= {f"grad_{name}": each for name, each in zip(leaves, found, strict=True)}
    return {name: each.detach().double().cpu() for name, each in named.items()}


def assert_close(found: dict[str, Tensor], exact: dict[str, Tensor], dtype: torch.dtype) -> None:
    """By the norm of the error over that of the right values, in units of the type's precision."""
    units = {torch.float64: 1e3, torch.float32: 20}.get(dtype, 3)
    assert found.keys() == exact.keys()
    for name, right in exact.items():
        assert found[name].shape == right.shape, name
        error = (found[name] - right).norm() / max(right.norm(), 1e-30)
        assert error <= units * torch.finfo(dtype).eps, f"{name}: {error:.1e}"


KINDS = {
    "plain": {},
    "reverse": {"reverse": True},
    "batch first": {"batch_first": True},
    "lengths": {"lengths": True},
    "lengths, reverse, batch first": {"lengths": True, "reverse": True, "batch_first": True},
    "packed": {"packed": True},
    "packed, reverse, batch first": {"packed": True, "reverse": True, "batch_first": True},
    "no bias": {"bias": False},
}


def check_against_the_reference(
    device: torch.device,
    cell: str,
    sizes: tuple[int, int, int, int],
    dtype: torch.dtype,
    *,
    projection: int = 0,
    lengths: bool = False,
    packed: bool = False,
    bias: bool = True,
    batch_first: bool = False,
    reverse: bool = False,
    recompute: bool = False,
) -> None:
    """What the layer gives for random arguments, and all its gradients; what padding holds must reach nothing."""
    steps, batch, _, hidden = sizes
    values = tensors(cell, *sizes, projection)
    options: dict[str, Any] = {"batch_first": batch_first, "reverse": reverse}
    if not bias:
        del values["b_ih"], values["b_hh"]
    shape = [steps, batch]
    if packed:
        batch_sizes = torch.randint(1, batch + 1, (steps,)).sort(descending=True).values
        batch_sizes[0] = batch
        options["batch_sizes"] = batch_sizes
        shape = [int(batch_sizes.sum())]
        values["input"] = values["input"].flatten(0, 1)[: shape[0]]
    elif batch_first:
        shape.reverse()
        values["input"] = values["input"].transpose(0, 1).contiguous()
    width = projection or hidden
    seeds = [torch.randn(*shape, width), torch.randn(batch, width)]
    seeds += [torch.randn(batch, hidden)] if cell == "lstm" else []
    seeds = [seed.to(dtype).double() for seed in seeds]
    given, given_seeds = {name: value.to(device, dtype) for name, value in values.items()}, seeds
    if lengths:
        options["lengths"] = torch.randint(1, steps + 1, (batch,))
        padding = torch.arange(steps).unsqueeze(1) >= options["lengths"]
        padding = padding.T if batch_first else padding
        given["input"] = given["input"].clone()
        given["input"][padding.to(device)] = torch.nan
        given_seeds = [seeds[0].clone(), *seeds[1:]]
        given_seeds[0][padding] = torch.nan
    found = run(ops.layer, cell, given, given_seeds, recompute=recompute, **options)
    assert_close(found, run(reference.layer, cell, values, seeds, **options), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_the_reference(
    device: torch.device, cell: str, projection: int, kind: str, dtype: torch.dtype
) -> None:
    check_against_the_reference(
        device, cell, (6, 5, 7, 13), dtype, projection=projection, **KINDS[kind]
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_padding_holds_reaches_nothing(
    device: torch.device,
    cell: str,
    projection: int,
    reverse: bool,
    recompute: bool,
    dtype: torch.dtype,
) -> None:
    """In input and gradient, for sizes that are no multiples of those that a product's tiles have."""
    for inputs, hidden in ((3, 33), (31, 5), (33, 17)):
        check_against_the_reference(
            device,
            cell,
            (4, 18, inputs, hidden),
            dtype,
            projection=projection,
            lengths=True,
            reverse=reverse,
            recompute=recompute,
        )


GPUS = {
    "old": (132, 75, 227 << 10, 1),
    "large": (1000, 90, 227 << 10, 1),
    "of small clusters": (6, 90, 64 << 10, 3),
    "of little shared memory": (40, 80, 28 << 10, 1),
}
"""Multiprocessors, compute capability, shared memory of a block, blocks of a cluster: they are why a layer is swept in
one or another of the ways of ``csrc/cuda/plan.h``."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("cell", "projection"), CASES)
@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("device", ["emulated"], indirect=True)
def test_every_gpu_gives_the_same(
    device: torch.device,
    emulated_gpu: SimpleNamespace,
    gpu: str,
    cell: str,
    projection: int,
    dtype: torch.dtype,
) -> None:
    set_device, seed = emulated_gpu.kernels.set_device, ctypes.c_uint64(1)
    set_device(*GPUS[gpu], seed)
    try:
        check_against_the_reference(
            device, cell, (2, 3, 5, 75), dtype, projection=projection, lengths=True
        )
    finally:
        set_device(132, 90, 227 << 10, 16, seed)  # as it was


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 3, 40, 33), (4, 18, 3, 65)], ids=str)
@pytest.mark.parametrize(("cell", "projection"), CASES)
def test_odd_sizes(
    device: torch.device, cell: str, projection: int, sizes: tuple[int, int, int, int]
) -> None:
    projection = min(projection, sizes[-1])
    for dtype in (torch.float32, torch.bfloat16)[: sizes[-1]]:  # one number alone may cancel out
        check_against_the_reference(device, cell, sizes, dtype, projection=projection, lengths=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("cell", "projection"), CASES[2:])
@pytest.mark.parametrize("kind", ["plain", "lengths, reverse, batch first", "packed"])
def test_recompute(
    device: torch.device, cell: str, projection: int, kind: str, dtype: torch.dtype
) -> None:
    check_against_the_reference(
        device, cell, (5, 4, 3, 9), dtype, projection=projection, recompute=True, **KINDS[kind]
    )


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaps": lambda wide: wide[..., ::4],
    "a part of each vector": lambda wide: wide[..., 1:7],
    "the same row again": lambda wide: wide[:, :1, :6].expand(4, 5, 6),
    "the other way round": lambda wide: wide.transpose(0, 1).contiguous().transpose(0, 1)[..., :6],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("cell", ops.CELLS)
def test_any_strides_of_the_input(device: torch.device, cell: str, view: str) -> None:
    values = tensors(cell, 4, 5, 6, 7)
    wide = torch.randn(4, 5, 24, dtype=torch.float64)
    seeds = [torch.randn(4, 5, 7), *[torch.randn(5, 7)] * (2 if cell == "lstm" else 1)]
    given = {name: value.to(device) for name, value in values.items()}
    values["input"], given["input"] = VIEWS[view](wide), VIEWS[view](wide.to(device))
    found = run(ops.layer, cell, given, seeds)
    assert_close(found, run(reference.layer, cell, values, seeds), torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_an_empty_batch(device: torch.device, kind: str, dtype: torch.dtype) -> None:
    options = {"proj_size": 3} if kind == "LSTM" else {}
    layer = getattr(rnnfast, kind)(3, 4, 2, bidirectional=True, **options)
    layer = layer.to(device, dtype)
    x = torch.randn(5, 0, 3, device=device, dtype=dtype, requires_grad=True)
    output, _ = layer(x)
    assert output.shape == (5, 0, 2 * (options.get("proj_size") or 4))
    output.sum().backward()
    assert x.grad is not None
    assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM", "LSTM with projection"])
def test_the_layers_are_those_of_torch(
    device: torch.device, kind: str, batch_first: bool, packed: bool
) -> None:
    options: dict[str, Any] = {"batch_first": batch_first, "bidirectional": True, "num_layers": 2}
    if kind == "LSTM with projection":
        options["proj_size"] = 4
    theirs, ours = (getattr(p, kind.split()[0])(5, 11, **options).double() for p in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    ours.to(device)
    x = torch.randn(6, 7, 5, dtype=torch.float64)
    lengths = torch.randint(1, 1 + (7 if batch_first else 6), (6 if batch_first else 7,))

    def results(layer: nn.RNNBase) -> list[Tensor]:
        leaf = x.to(layer.weight_ih_l0.device).requires_grad_()
        if packed:
            output, state = layer(
                pack_padded_sequence(leaf, lengths, batch_first, enforce_sorted=False)
            )
            output, _ = pad_packed_sequence(output, batch_first)
        else:
            output, state = layer(leaf)
        states = state if isinstance(state, tuple) else (state,)
        total = sum((each**2).sum() for each in (output, *states))
        gradients = torch.autograd.grad(total, (leaf, *layer.parameters()))
        return [each.cpu() for each in (output, *states, *gradients)]

    torch.testing.assert_close(results(ours), results(theirs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cell", ops.CELLS)
def test_derivatives_beyond_the_first(device: torch.device, cell: str) -> None:
    values = {name: each.to(device) for name, each in tensors(cell, 3, 2, 2, 3).items()}
    leaves = tuple(each.requires_grad_() for each in values.values())

    def layer(**options: Any) -> Callable[..., tuple[Tensor, ...]]:
        return lambda *given: ops.layer(cell, **dict(zip(values, given, strict=True)), **options)

    for lengths in (None, torch.tensor([3, 1])):
        assert torch.autograd.gradcheck(layer(lengths=lengths), leaves, fast_mode=True)
        assert torch.autograd.gradgradcheck(layer(lengths=lengths), leaves, fast_mode=True)
    packed = (leaves[0].detach().flatten(0, 1)[:4].requires_grad_(), *leaves[1:])
    assert torch.autograd.gradgradcheck(
        layer(batch_sizes=torch.tensor([2, 1, 1])), packed, fast_mode=True
    )


@pytest.mark.parametrize("cell", ops.CELLS)
def test_the_same_bits_again(device: torch.device, cell: str) -> None:
    values = {name: each.to(device).float() for name, each in tensors(cell, 9, 17, 5, 33).items()}
    seeds = [torch.randn(9, 17, 33), *[torch.randn(17, 33)] * (2 if cell == "lstm" else 1)]
    first, again = (run(ops.layer, cell, values, seeds) for _ in range(2))
    for name, right in first.items():
        assert torch.equal(again[name], right), name


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_what_is_not_finite_stays_in_its_row_from_its_step_on(
    device: torch.device, kind: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ALLOWED, "not_finite", True)
    theirs, ours = (getattr(p, kind)(3, 20) for p in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 17, 3)
    x[2, 5, 1] = value
    expected = theirs(x)[0]
    output = ours.to(device)(x.to(device))[0].cpu()
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert output[:, torch.arange(17) != 5].isfinite().all()
    assert output[:2].isfinite().all()


def test_tf32_products_are_near_those_of_float32(device: torch.device) -> None:
    """What the switch of torch says comes to the kernels as an argument."""
    values = {name: each.float().to(device) for name, each in tensors("gru", 5, 7, 9, 40).items()}
    names = ("input", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
    call = (list(ops.CELLS).index("gru"), *map(values.get, names), None, None, False, False, 0)
    exact, rounded = (torch.ops.rnnfast.layer(*call, tf32)[0] for tf32 in (False, True))
    assert (rounded - exact).norm() <= 2e-3 * exact.norm()


def test_where_memory_ends_torch_says_so(device: torch.device) -> None:
    """Sums of 2**40 numbers, of an input that is one vector over and over."""
    layer = rnnfast.RNN(1, 2**10).to(device)
    x = torch.zeros(1, 1, 1, device=device).expand(2**20, 2**10, 1)
    with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError, match="no room for"):
        layer(x)
    assert layer(x[:2, :3])[0].isfinite().all()


REFUSED: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "shape": (
        r"w_ih must have the shape \(15, 2\), got: \(15, 3\)",
        lambda t: {"w_ih": t["w_ih"].repeat(1, 2)[:, :3]},
    ),
    "dtype": ("h0 must have the dtype of input", lambda t: {"h0": t["h0"].double()}),
    "one bias": ("b_ih and b_hh must be given together", lambda t: {"b_ih": None}),
    "gates": ("4 rows for each hidden unit of a lstm, got: 15", lambda t: {"cell": "lstm"}),
    "length": (
        "lengths must be between 1 and .* got: 5",
        lambda t: {"lengths": torch.tensor([5, 1, 1])},
    ),
    "steps": ("at least one time step, got: 0", lambda t: {"input": t["input"][:0]}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused_as_on_the_cpu(device: torch.device, case: str) -> None:
    message, change = REFUSED[case]
    values: dict[str, Any] = {
        name: each.float().to(device) for name, each in tensors("gru", 4, 3, 2, 5).items()
    }
    call = {"cell": "gru"} | values | change(values)
    with pytest.raises(RuntimeError, match=message):
        ops.layer(**call)


# From here on: what only a GPU has.


def a_layer(kind: str = "GRU", **options: Any) -> nn.RNNBase:
    return getattr(rnnfast, kind)(24, 40, 2, bidirectional=True, **options).cuda()


@only_on_a_gpu
def test_lengths_are_numbers_of_the_host() -> None:
    x, lengths = torch.randn(5, 2, 24, device="cuda"), torch.tensor([5, 2])
    with pytest.raises(RuntimeError, match=r"lengths must be .* on the CPU"):
        a_layer()(x, lengths=lengths.cuda())
    with pytest.raises(RuntimeError, match="h0 must be on cuda:0 as input is, got: cpu"):
        ops.layer(
            "rnn_tanh", x, torch.zeros(2, 3), torch.zeros(3, 24).cuda(), torch.zeros(3, 3).cuda()
        )


@only_on_a_gpu
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_another_stream(kind: str) -> None:
    """Nothing runs ahead of what is on the stream already, such as the making of the input."""
    layer, stream = a_layer(kind), torch.cuda.Stream()
    x = torch.randn(50, 16, 24, device="cuda")
    expected = layer(x)[0]
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        late = torch.zeros_like(x)
        torch.cuda._sleep(20_000_000)
        late += x
        output = layer(late, lengths=torch.full((16,), 50))[0]
    stream.synchronize()
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


@only_on_a_gpu
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_graph_replays_a_training_step(kind: str, packed: bool) -> None:
    torch.use_deterministic_algorithms(False)  # filling with NaN would be captured, too
    layer = a_layer(kind)
    x = torch.randn(20, 6, 24, device="cuda", requires_grad=True)
    lengths = torch.tensor([20, 18, 11, 7, 2, 1]) if packed else None

    def step() -> list[Tensor]:
        output = layer(x, lengths=lengths)[0]
        return [output, *torch.autograd.grad(output.square().sum(), (x, *layer.parameters()))]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for _ in range(3):
        with torch.no_grad():
            x.normal_()
        graph.replay()
        torch.testing.assert_close(captured, step(), rtol=1e-4, atol=1e-4)


@only_on_a_gpu
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_compile_fullgraph_with_gradients(kind: str) -> None:
    layer = a_layer(kind)
    compiled = torch.compile(layer, fullgraph=True)
    x = torch.randn(5, 4, 24, device="cuda", requires_grad=True)
    results = []
    for each in (layer, compiled):
        output = each(x)[0]
        gradients = torch.autograd.grad(output.square().sum(), (x, *layer.parameters()))
        results.append([output, *gradients])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


@only_on_a_gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_gpu_of_the_tensors_not_the_current_one() -> None:
    layer, x = a_layer(), torch.randn(5, 4, 24, device="cuda")
    expected = layer(x)[0].cpu()
    output = layer.to("cuda:1")(x.to("cuda:1"), lengths=torch.full((4,), 5))[0]
    assert output.device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0
    torch.testing.assert_close(output.cpu(), expected, rtol=1e-5, atol=1e-5)


@only_on_a_gpu
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("dtype", DTYPES[2:], ids=str)
def test_autocast_makes_all_of_it_narrow(kind: str, dtype: torch.dtype) -> None:
    layer = a_layer(kind)
    truth = getattr(nn, kind)(24, 40, 2, bidirectional=True).double()
    truth.load_state_dict(layer.state_dict())
    x = torch.randn(9, 4, 24)
    with torch.autocast("cuda", dtype=dtype):
        output, state = layer(x.cuda())
    output.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())
    assert {each.dtype for each in (output, *(state if kind == "LSTM" else (state,)))} == {dtype}
    error = (output.detach().double().cpu() - truth(x.double())[0].detach()).norm()
    assert error <= 4 * torch.finfo(dtype).eps * output.double().norm().cpu()


@only_on_a_gpu
def test_a_model_on_the_gpu_is_accelerated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = nn.ModuleDict({"one": nn.LSTM(3, 4), "narrow": nn.GRU(3, 4).half()}).cuda()
    x = torch.randn(5, 2, 3, device="cuda")
    expected = model["one"](x)[0]
    assert rnnfast.accelerate(model).swapped == ("one", "narrow")
    torch.testing.assert_close(model["one"](x)[0], expected, rtol=1e-4, atol=1e-5)


@only_on_a_gpu
def test_tf32_is_what_torch_s_switch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    real = operators.LAYER.default

    def watched(*arguments: Any) -> Any:
        given.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(operators, "LAYER", SimpleNamespace(default=watched))
    layer, x = rnnfast.RNN(3, 4).cuda(), torch.randn(5, 2, 3, device="cuda")
    before = torch.get_float32_matmul_precision()
    with torch.inference_mode():
        for precision in ("highest", "high"):
            torch.set_float32_matmul_precision(precision)
            layer(x)
    torch.set_float32_matmul_precision(before)
    assert given == [False, True]


ACCURACY_SHAPES = [
    (64, 16, 16, 64),
    (100, 9, 40, 200),
    (256, 64, 128, 128),
    (50, 32, 128, 256),
    (40, 16, 128, 512),
    (96, 64, 9, 64),
    (200, 16, 32, 128),
    (12, 32, 512, 1024),
    (64, 1, 128, 256),
    (32, 16, 768, 768),
]
"""Time steps, batch, input, hidden: those of `make bench-cuda`, with fewer time steps or rows."""


@only_on_a_gpu
@pytest.mark.parametrize("dtype", [torch.float32, *DTYPES[2:]], ids=str)
@pytest.mark.parametrize("shape", ACCURACY_SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm"])
def test_error_against_float64_is_at_most_that_of_cudnn(
    kind: str, shape: tuple[int, int, int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root mean square over each output and gradient.

    Where cuDNN is all but exact, a unit and a half in the last place of a typical number will do.
    """
    steps, batch, inputs, hidden = shape
    # Without it cuDNN's tensor cores would be gone in bfloat16 too.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", dtype != torch.float32)

    def made(package: Any, **options: Any) -> nn.RNNBase:
        if kind in ("tanh", "relu"):
            return package.RNN(inputs, hidden, nonlinearity=kind, **options)
        return getattr(package, kind.upper())(inputs, hidden, **options)

    theirs, ours = (made(p, device="cuda", dtype=dtype) for p in (nn, rnnfast))
    truth = made(nn, device="cuda", dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    truth.load_state_dict(theirs.state_dict())
    x = torch.randn(steps, batch, inputs, device="cuda", dtype=dtype)
    seed = torch.randn(steps, batch, hidden, device="cuda", dtype=dtype)

    def results(layer: nn.Module, dtype: torch.dtype) -> list[Tensor]:
        leaf = x.to(dtype, copy=True).requires_grad_()
        output = layer(leaf)[0]
        return [output, *torch.autograd.grad(output, (leaf, *layer.parameters()), seed.to(dtype))]

    def error(value: Tensor, exact: Tensor) -> float:
        return (value.double() - exact).square().mean().sqrt().item()

    exact = results(truth, torch.float64)
    for mine, other, right in zip(results(ours, dtype), results(theirs, dtype), exact, strict=True):
        rounding = right.square().mean().sqrt().item() * torch.finfo(dtype).eps
        assert error(mine, right) <= max(error(other, right) * 1.05, 1.5 * rounding)
