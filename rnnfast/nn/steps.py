"""Layers and steps for inference on the CPU, without torch's dispatcher, which takes longer than a step of one row.

The only caller of the functions of ``rnnfast._C``. They get addresses, so whatever is not checked here is not checked.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from rnnfast import _C
from rnnfast.nn import ops

_TENSORS = (Tensor, nn.Parameter)


# Looked up once: a step of one row takes little more time than these questions.
_is_compiling = torch.compiler.is_compiling
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_are_transformed = torch._C._are_functorch_transforms_active
_tracing = torch._C._get_tracing_state
_is_profiled = torch._C._autograd._profiler_enabled
_is_autocast = torch.is_autocast_enabled


def is_plain() -> bool:
    """Whether a call is for its numbers alone: nothing compiles, traces, transforms, intercepts or profiles it."""
    return not (
        _is_compiling()
        or _dispatch_modes()
        or _function_modes()
        or _are_transformed()
        or _tracing() is not None
        or forward_ad._current_level >= 0
        or _is_profiled()
        or _is_autocast("cpu")
    )


def any_learns(tensors: Iterable[Tensor | None]) -> bool:
    """Whether a gradient by one of them may be asked for."""
    for each in tensors:  # noqa: SIM110  (a generator takes three times as long)
        if each is not None and each.requires_grad:
            return True
    return False


def all_in_memory(tensors: Iterable[Tensor | None], dtype: torch.dtype) -> bool:
    """Whether the numbers of all, but for those that are None, stand in this process's memory, one after another."""
    for each in tensors:
        if each is not None and not (
            type(each) in _TENSORS
            and each.dtype is dtype
            and each.is_cpu
            and each.layout is torch.strided
            and each.is_contiguous()
            and not each.is_neg()
            and each.data_ptr()
        ):
            return False
    return True


def arguments(
    cell: int,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    w_hr: Tensor | None = None,
    packed: Tensor | None = None,
) -> tuple[int, ...]:
    """A layer as the compiled functions take it.

    All weights must be :func:`all_in_memory`. Where they are packed, by :func:`pack`, nothing else of them is read.
    """
    width = w_hh.shape[1]
    sizes = w_ih.shape[1], width if w_hr is None else w_hr.shape[1], width
    if packed is not None:
        double = int(packed.dtype is torch.float64)
        # That there is a projection is said by its address.
        return double, cell, *sizes, packed.data_ptr(), 0, 0, _address(w_hr), 0, 0
    return (
        int(w_ih.dtype is torch.float64),
        cell,
        *sizes,
        0,
        w_ih.data_ptr(),
        w_hh.data_ptr(),
        _address(w_hr),
        _address(b_ih),
        _address(b_hh),
    )


def quantized(
    cell: int, inputs: int, hidden: int, projection: int, packed: Tensor
) -> tuple[int, ...]:
    """A quantized layer likewise. Its bytes must be :func:`all_in_memory` and those of that many units.

    Raises:
        RuntimeError: there are not as many of them as such a layer has.
    """
    width = projection or hidden
    ops.check_packed(cell, inputs, hidden, width, packed)
    return 2, cell, inputs, hidden, width, packed.data_ptr(), 0, 0, projection, 0, 0


def pack(cell: int, **weights: Tensor | None) -> Tensor:
    """The weights of a layer as the kernels read them fastest; narrow ones in float32, in which they are computed."""
    wide = {
        name: each.detach().float()
        if each is not None and each.dtype in ops.NARROW_DTYPES
        else each
        for name, each in weights.items()
    }
    given: Any = wide
    packing = arguments(cell, **given)
    size = _C.pack_step(*packing, 0)
    assert size is not None
    # At a multiple of 64 bytes.
    room = torch.empty(size + 64, dtype=given["w_ih"].dtype)
    packed = room[-(room.data_ptr() // room.element_size()) % 64 :][:size]
    _C.pack_step(*packing, packed.data_ptr())
    return packed


def step(
    weights: tuple[int, ...], input: Tensor, h: Tensor, c: Tensor | None
) -> tuple[Tensor, ...]:
    """The states behind a step of N rows: the hidden one, and of an LSTM the cell state.

    Args:
        weights: from :func:`arguments`.
        input: (N, I), of the dtype of the weights and, like h and c, :func:`all_in_memory`.
        h: (N, H), or (H,) if N is 1.
        c: likewise, of an LSTM; else None.
    """
    rows, width = input.shape
    h_out = torch.empty_like(h)
    if c is None:
        _C.step(*weights, rows, input.data_ptr(), width, h.data_ptr(), 0, h_out.data_ptr(), 0, 0, 0)
        return (h_out,)
    c_out = torch.empty_like(c)
    states = h.data_ptr(), c.data_ptr(), h_out.data_ptr(), c_out.data_ptr()
    _C.step(*weights, rows, input.data_ptr(), width, *states, 0, 0)
    return h_out, c_out


def step_slots(
    weights: tuple[int, ...], input: Tensor, states: tuple[Tensor, ...], slots: Tensor
) -> Tensor:
    """The hidden states (N, P) behind a step of N rows whose states stand in larger ones, where they are updated.

    Args:
        weights: from :func:`arguments`, packed.
        input: (N, I), of their dtype and, like the others, :func:`all_in_memory`.
        states: (S, P), and of an LSTM (S, H).
        slots: (N,) int64, from :func:`check_slots`: of each row its place among the S.
    """
    rows, width = input.shape
    h, c = states[0], states[1] if len(states) == 2 else None
    output = input.new_empty(rows, h.shape[1])
    places = h.data_ptr(), _address(c), output.data_ptr(), _address(c), 0, slots.data_ptr()
    _C.step(*weights, rows, input.data_ptr(), width, *places)
    return output


def check_slots(slots: Tensor, states: int) -> None:
    """Raises RuntimeError unless the slots (N,) int64, :func:`all_in_memory`, differ and are in 0..states-1."""
    _C.check_slots(slots.data_ptr(), slots.numel(), states)


def layer(
    weights: tuple[int, ...],
    input: Tensor,
    states: tuple[Tensor, ...],
    lengths: Tensor | None,
    batch_first: bool,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """What :func:`rnnfast.nn.ops.layer` gives, with weights from :func:`arguments`, packed. All are checked before."""
    h, c = states[0], states[1] if len(states) == 2 else None
    output = input.new_empty(*input.shape[:2], h.shape[1])
    last = tuple(map(torch.empty_like, states))
    time = int(batch_first)
    _C.layer(
        *weights,
        input.shape[time],
        input.shape[1 - time],
        input.data_ptr(),
        input.stride(time),
        input.stride(1 - time),
        h.data_ptr(),
        _address(c),
        output.data_ptr(),
        output.stride(time),
        output.stride(1 - time),
        last[0].data_ptr(),
        0 if c is None else last[1].data_ptr(),
        _address(lengths),
        int(reverse),
    )
    return output, *last


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
