"""The CUDA kernels, run by the emulator of ``tests/csrc/emulator``, against the reference in float64.

Every array that a kernel writes is full of NaN before, and so is its workspace. Letters as in ``csrc/cuda/sweep.h``.
"""

import ctypes
import functools
from collections.abc import Callable
from ctypes import c_bool, c_int, c_int64, c_uint64, c_void_p
from dataclasses import dataclass, replace

import emulated
import pytest
import torch
from torch import Tensor

from rnnfast.nn import reference

CELLS = ("rnn_tanh", "rnn_relu", "gru", "lstm")
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
SAVED = {"rnn_tanh": 0, "rnn_relu": 0, "gru": 4, "lstm": 5}
SLOTS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 4, "lstm": 4}
X_SLOT = {"gru": (0, (2, 0, 1))}
"""Where the gradients for W_ih begin among the slots, and their order, if it is not torch's from the first on."""
H_SLOT = {"gru": (1, (0, 1, 2))}

TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
ERROR = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
"""Of a whole tensor, the norm of what is wrong over that of what is right."""


class Sequence(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("time_stride", c_int64), ("row_stride", c_int64))


LAYER = (
    *(("cell", c_int), ("type", c_int), ("tf32", c_bool), ("T", c_int64), ("N", c_int64)),
    *(("H", c_int64), ("reverse", c_bool), ("lengths", c_void_p), ("first_row", c_void_p)),
    *(("w_hh", c_void_p), ("h0", c_void_p), ("c0", c_void_p)),
)


class Forward(ctypes.Structure):
    _fields_ = (
        *LAYER,
        *(("projected", Sequence), ("b_ih", c_void_p), ("b_hh", c_void_p)),
        *(("output", Sequence), ("h_n", c_void_p), ("c_n", c_void_p)),
        *(("reserve", Sequence), ("cells", Sequence)),
    )


class Backward(ctypes.Structure):
    _fields_ = (
        *LAYER,
        *(("output", Sequence), ("reserve", Sequence), ("grad_output", Sequence)),
        *(("grad_h_n", c_void_p), ("grad_c_n", c_void_p), ("dz", Sequence)),
        *(("grad_h0", c_void_p), ("grad_c0", c_void_p)),
    )


@dataclass(frozen=True)
class Device:
    """What the emulated device is said to have, which decides how a layer is planned."""

    multiprocessors: int = 132
    capability: int = 90
    shared_bytes: int = 227 << 10
    largest_cluster: int = 16
    seed: int = 0


@functools.cache
def library() -> ctypes.CDLL:
    kernels = ctypes.CDLL(str(emulated.shared_object("sweep", emulated.EMULATOR / "plain.cpp")))
    kernels.forward_workspace.restype = kernels.backward_workspace.restype = c_int64
    return kernels


def on(device: Device) -> ctypes.CDLL:
    kernels = library()
    kernels.set_device(
        *(device.multiprocessors, device.capability, device.shared_bytes, device.largest_cluster),
        c_uint64(device.seed),
    )
    return kernels


def address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@dataclass(frozen=True)
class Case:
    cell: str
    dtype: torch.dtype
    T: int
    N: int
    H: int
    layout: str = "time"  # or batch, packed
    lengths: tuple[int, ...] | None = None
    reverse: bool = False
    bias: bool = True
    states: bool = True  # h0, and what arrives at h_n and c_n
    grad_output: bool = True
    tf32: bool = False
    cells_only: bool = False
    I: int = 5  # noqa: E741

    @property
    def row_lengths(self) -> Tensor:
        return torch.tensor(self.lengths or (self.T,) * self.N)

    @property
    def here(self) -> Tensor:
        """(T, N), whether the row has that time step."""
        return torch.arange(self.T).unsqueeze(1) < self.row_lengths


def nan(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.full(shape, torch.nan, dtype=dtype)


class Arrays:
    """A layer's tensors in the layout of the case, as (T, N, width) outside."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.sizes = case.here.sum(1)
        self.lengths = None if case.lengths is None else case.row_lengths.to(torch.int32)
        self.first_row = None
        if case.layout == "packed":
            self.first_row = torch.cumsum(self.sizes, 0) - self.sizes

    def place(self, padded: Tensor) -> Tensor:
        if self.case.layout == "packed":
            return padded[self.case.here].contiguous()
        filled = torch.where(self.case.here.unsqueeze(2), padded, torch.nan)
        return filled.transpose(0, 1).contiguous() if self.case.layout == "batch" else filled

    def empty(self, width: int, dtype: torch.dtype) -> Tensor:
        T, N = self.case.T, self.case.N  # noqa: N806
        if self.case.layout == "packed":
            return nan(int(self.sizes.sum()), width, dtype=dtype)
        return nan(*((N, T) if self.case.layout == "batch" else (T, N)), width, dtype=dtype)

    def padded(self, tensor: Tensor) -> Tensor:
        if self.case.layout == "packed":
            made = tensor.new_zeros(self.case.T, self.case.N, tensor.shape[1])
            made[self.case.here] = tensor
            return made
        return tensor.transpose(0, 1) if self.case.layout == "batch" else tensor

    def sequence(self, tensor: Tensor | None) -> Sequence:
        if tensor is None:
            return Sequence()
        if self.case.layout == "packed":
            return Sequence(tensor.data_ptr(), 0, tensor.stride(0))
        time, row = (1, 0) if self.case.layout == "batch" else (0, 1)
        return Sequence(tensor.data_ptr(), tensor.stride(time), tensor.stride(row))


def done(code: int) -> None:
    assert code == 0


def kernel_results(
    case: Case, given: dict[str, Tensor | None], device: Device
) -> dict[str, Tensor]:
    """Outputs and gradients as the kernels make them; what the binding does around them is done here in float64."""
    kernels, arrays = on(device), Arrays(case)
    cell, dtype, H = case.cell, case.dtype, case.H  # noqa: N806
    sum_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    gates, saved, slots = GATES[cell], SAVED[cell], SLOTS[cell]
    lstm = cell == "lstm"
    kept: list[Tensor] = []

    def keep(tensor: Tensor | None) -> int | None:
        if tensor is not None:
            kept.append(tensor)
        return address(tensor)

    layer = (
        *(CELLS.index(cell), TYPES.index(dtype), case.tf32, case.T, case.N, H, case.reverse),
        *(keep(arrays.lengths), keep(arrays.first_row)),
        *(keep(given["w_hh"]), keep(given["h0"]), keep(given["c0"])),
    )

    def some(made: bool, width: int) -> Tensor | None:
        return arrays.empty(width, dtype) if made else None

    x, w_ih, w_hh = given["input"], given["w_ih"], given["w_hh"]
    assert x is not None
    assert w_ih is not None
    assert w_hh is not None
    projected = arrays.place((x.double() @ w_ih.double().T).to(sum_dtype))
    output = arrays.empty(H, dtype)
    reserve = some(saved > 0 and not case.cells_only, saved * H)
    cells = some(lstm and case.cells_only, H)
    h_n, c_n = nan(case.N, H, dtype=dtype), nan(case.N, H, dtype=dtype) if lstm else None
    forward = Forward(
        *layer,
        *(arrays.sequence(projected), address(given["b_ih"]), address(given["b_hh"])),
        *(arrays.sequence(output), address(h_n), address(c_n)),
        *(arrays.sequence(reserve), arrays.sequence(cells)),
    )
    memory = nan(kernels.forward_workspace(ctypes.byref(forward)) // 4, dtype=torch.float32)
    done(kernels.forward_sweep(ctypes.byref(forward), c_void_p(memory.data_ptr())))

    before = arrays.empty(H, dtype)
    places = (arrays.sequence(output), arrays.sequence(before))
    done(kernels.write_states_before(ctypes.byref(forward), *map(ctypes.byref, places)))
    if case.cells_only:
        flat = before.reshape(-1, H)
        hidden = (flat.double() @ w_hh.double().T).to(sum_dtype)
        reserve = arrays.empty(saved * H, dtype)
        code = kernels.make_again(
            ctypes.byref(forward),
            c_int64(len(flat)),
            *(c_void_p(address(t)) for t in (projected, hidden, cells, before, reserve)),
        )
        done(code)

    dz = arrays.empty(slots * H, dtype)
    grad_h0 = nan(case.N, H, dtype=dtype)
    grad_c0 = nan(case.N, H, dtype=dtype) if lstm else None
    grad_output = None if given["grad_output"] is None else arrays.place(given["grad_output"])
    backward = Backward(
        *layer,
        *(arrays.sequence(output), arrays.sequence(reserve), arrays.sequence(grad_output)),
        *(keep(given["grad_h_n"]), keep(given["grad_c_n"]), arrays.sequence(dz)),
        *(address(grad_h0), address(grad_c0)),
    )
    memory = nan(kernels.backward_workspace(ctypes.byref(backward)) // 4, dtype=torch.float32)
    done(kernels.backward_sweep(ctypes.byref(backward), c_void_p(memory.data_ptr())))

    def gradients(place: tuple[int, tuple[int, ...]]) -> Tensor:
        """(T, N, G*H) in torch's order."""
        first, order = place
        parts = arrays.padded(dz).double().chunk(slots, dim=2)
        return torch.cat([parts[first + order.index(gate)] for gate in range(gates)], 2)

    in_order = (0, tuple(range(gates)))
    dz_x, dz_h = gradients(X_SLOT.get(cell, in_order)), gradients(H_SLOT.get(cell, in_order))
    states = arrays.padded(before).double()
    results = {
        "output": arrays.padded(output),
        "h_n": h_n,
        "grad_input": dz_x @ w_ih.double(),
        "grad_w_ih": torch.einsum("tng,tni->gi", dz_x, torch.nan_to_num(x.double())),
        "grad_w_hh": torch.einsum("tng,tnh->gh", dz_h, states),
        "grad_h0": grad_h0,
    }
    if case.bias:
        results |= {"grad_b_ih": dz_x.sum((0, 1)), "grad_b_hh": dz_h.sum((0, 1))}
    if c_n is not None and grad_c0 is not None:
        results |= {"c_n": c_n, "grad_c0": grad_c0}
    return {name: tensor.double() for name, tensor in results.items()}


def reference_results(case: Case, given: dict[str, Tensor | None]) -> dict[str, Tensor]:
    names = ("input", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh")
    leaves = {
        name: tensor.double().requires_grad_()
        for name in names
        if (tensor := given[name]) is not None
    }
    zeros = torch.zeros(case.N, case.H, dtype=torch.float64)
    for name in ("h0", "c0") if case.cell == "lstm" else ("h0",):
        leaves.setdefault(name, zeros.clone().requires_grad_())
    weights = (leaves["input"], leaves["h0"], leaves["w_ih"], leaves["w_hh"])
    results = reference.layer(
        case.cell,
        *(*weights, leaves.get("b_ih"), leaves.get("b_hh")),
        c0=leaves.get("c0"),
        lengths=case.row_lengths,
        reverse=case.reverse,
    )
    grads = (given["grad_output"], given["grad_h_n"], given["grad_c_n"])
    pairs = [(r, g.double()) for r, g in zip(results, grads, strict=False) if g is not None]
    torch.autograd.backward(*zip(*pairs, strict=True))
    made = dict(zip(("output", "h_n", "c_n"), results, strict=False))
    made |= {f"grad_{name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {name: tensor.detach() for name, tensor in made.items()}


def random_arguments(case: Case) -> dict[str, Tensor | None]:
    gates, H, N = GATES[case.cell] * case.H, case.H, case.N  # noqa: N806

    def random(present: bool, *shape: int, scale: float = 1.0) -> Tensor | None:
        return (torch.randn(shape) * scale).to(case.dtype) if present else None

    lstm, scale = case.cell == "lstm", 1 / max(H, 1) ** 0.5
    steps = (case.T, case.N)
    return {
        "input": random(True, *steps, case.I),
        "w_ih": random(True, gates, case.I, scale=scale),
        "w_hh": random(True, gates, H, scale=scale),
        "b_ih": random(case.bias, gates),
        "b_hh": random(case.bias, gates),
        "h0": random(case.states, N, H),
        "c0": random(lstm, N, H),
        "grad_output": random(case.grad_output, *steps, H),
        "grad_h_n": random(case.states or not case.grad_output, N, H),
        "grad_c_n": random(lstm and case.states, N, H),
    }


def check(case: Case, device: Device = Device()) -> None:
    given = random_arguments(case)
    made, right = kernel_results(case, given, device), reference_results(case, given)
    assert made.keys() == right.keys()
    # Where a sum is about 0, relu passes all of a gradient or nothing.
    allowed = ERROR[torch.float16 if case.tf32 else case.dtype] * (
        8 if case.cell == "rnn_relu" else 1
    )
    wrong = {
        name: error
        for name in right
        if not (error := relative_error(made[name], right[name])) < allowed
    }
    assert not wrong


def relative_error(made: Tensor, right: Tensor) -> float:
    return ((made - right).norm() / right.norm().clamp(min=1e-30)).item()


VARIANTS: tuple[Callable[[Case], Case], ...] = (
    lambda case: case,
    lambda case: replace(case, reverse=True, layout="batch", states=False),
    lambda case: replace(case, lengths=lengths_of(case, False), grad_output=False),
    lambda case: replace(case, lengths=lengths_of(case, False), reverse=True, cells_only=True),
    lambda case: replace(case, lengths=lengths_of(case, True), layout="packed", bias=False),
    lambda case: replace(case, lengths=lengths_of(case, True), layout="packed", reverse=True),
)
"""Layouts, directions, and what is absent."""


def lengths_of(case: Case, falling: bool) -> tuple[int, ...]:
    lengths = [1 + (5 * n + 2) % case.T for n in range(case.N)]
    lengths[case.N // 2] = case.T
    return tuple(sorted(lengths, reverse=True) if falling else lengths)


each_cell = pytest.mark.parametrize("cell", CELLS)
each_variant = pytest.mark.parametrize("variant", range(len(VARIANTS)))

RESIDENT = {
    "block": Device(largest_cluster=1, multiprocessors=1000),
    "cluster": Device(largest_cluster=3, multiprocessors=6),
    "grid": Device(capability=80, shared_bytes=28 << 10, multiprocessors=40),
}
"""Devices on which the layers below are swept in each of the ways of ``csrc/cuda/plan.h``."""

NUMBERS = {
    "float32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "float16": (torch.float16, False),
    "bfloat16": (torch.bfloat16, False),
}


@dataclass(frozen=True)
class Plan:
    exchange: str
    blocks: int
    units: int
    columns: int
    shared_bytes: int
    clocks: int  # of a time step, estimated


def plan(
    cell: str,
    numbers: str,
    N: int,  # noqa: N803
    H: int,  # noqa: N803
    device: Device,
    backward: bool = False,
) -> Plan | None:
    """How the device would sweep such a layer; None: step by step."""
    kernels, made = on(device), (c_int * 6)()
    dtype, tf32 = NUMBERS[numbers]
    direction = (Backward if backward else Forward)()
    direction.cell, direction.type = CELLS.index(cell), TYPES.index(dtype)
    direction.tf32, direction.T, direction.N, direction.H = tf32, 100, N, H
    (kernels.backward_plan if backward else kernels.forward_plan)(ctypes.byref(direction), made)
    exchange, *rest = made
    return None if exchange < 0 else Plan(("block", "cluster", "grid")[exchange], *rest)


@each_cell
@pytest.mark.parametrize("numbers", NUMBERS)
@each_variant
def test_one_block_keeps_the_weights(cell: str, numbers: str, variant: int) -> None:
    dtype, tf32 = NUMBERS[numbers]
    case = VARIANTS[variant](Case(cell, dtype, T=4, N=3, H=19, tf32=tf32))
    check(case, replace(RESIDENT["block"], seed=variant))


@each_cell
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("exchange", RESIDENT)
def test_blocks_keep_the_weights(cell: str, numbers: str, exchange: str) -> None:
    """Sizes at which fragments, chunks and tiles have a remainder, and warps that have nothing."""
    dtype, tf32 = NUMBERS[numbers]
    for variant, N, H in ((2, 17, 67), (3, 9, 146)):  # noqa: N806
        device = replace(RESIDENT[exchange], seed=variant)
        made = plan(cell, numbers, N, H, device)
        assert made is not None
        if exchange == ("block" if H == 67 else made.exchange):
            check(VARIANTS[variant](Case(cell, dtype, T=3, N=N, H=H, tf32=tf32)), device)
        assert made.exchange == exchange or H == 67 or exchange == "block"


@pytest.mark.parametrize(("exchange", "H", "seeds"), [("cluster", 130, 15), ("grid", 70, 5)])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_order_of_threads_changes_no_bit(
    cell: str,
    exchange: str,
    H: int,  # noqa: N803
    seeds: int,
) -> None:
    case = VARIANTS[3](Case(cell, torch.bfloat16, T=5, N=9, H=H))
    given = random_arguments(case)
    results = [
        kernel_results(case, given, replace(RESIDENT[exchange], seed=seed)) for seed in range(seeds)
    ]
    for other in results[1:]:
        assert all(torch.equal(other[name], results[0][name]) for name in other)


def test_numbers_reach_the_device_by_launches() -> None:
    kernels = on(Device())
    for dtype, put in ((torch.int32, kernels.put_lengths), (torch.int64, kernels.put_places)):
        numbers = torch.randint(-(2**31), 2**31, (1203,), dtype=dtype)
        made = torch.zeros_like(numbers)
        done(put(c_void_p(numbers.data_ptr()), c_void_p(made.data_ptr()), c_int64(len(numbers))))
        assert torch.equal(made, numbers)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("cell", "numbers", "N", "H", "exchange"),
    [
        ("rnn_tanh", "bfloat16", 32, 64, "block"),
        ("lstm", "bfloat16", 32, 64, "cluster"),
        ("rnn_tanh", "bfloat16", 64, 256, "cluster"),
        ("lstm", "float16", 64, 256, "cluster"),
        ("lstm", "float32", 64, 256, "cluster"),
        ("lstm", "float16", 32, 512, "cluster"),
        ("lstm", "bfloat16", 128, 512, "cluster"),
        ("lstm", "float32", 16, 768, "grid"),
        ("lstm", "float32", 64, 1024, None),
        ("lstm", "bfloat16", 8, 8192, None),
    ],
)
def test_where_the_weights_are_on_an_h200(
    cell: str,
    numbers: str,
    N: int,  # noqa: N803
    H: int,  # noqa: N803
    exchange: str | None,
    backward: bool,
) -> None:
    device = Device()
    made = plan(cell, numbers, N, H, device, backward)
    assert (made and made.exchange) == exchange
    if made is not None:
        assert made.blocks * made.units >= H
        assert (made.blocks - 1) * made.units < H
        assert made.shared_bytes <= device.shared_bytes
        assert made.blocks <= {"block": 1, "cluster": 16, "grid": 132}[made.exchange]


def test_no_cluster_where_there_are_none() -> None:
    for numbers in NUMBERS:
        made = plan("lstm", numbers, 64, 256, Device(capability=80, shared_bytes=163 << 10))
        assert made is not None
        assert made.exchange == "grid"
    assert plan("lstm", "float16", 64, 64, Device(capability=75)) is None


def test_no_plan_for_strides_beyond_32_bits() -> None:
    kernels, made = on(Device()), (c_int * 6)()
    layer = Forward(cell=0, type=0, T=100, N=4, H=32)
    layer.projected.row_stride = 2**31
    kernels.forward_plan(ctypes.byref(layer), made)
    assert set(made) == {-1}
