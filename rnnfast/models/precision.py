"""Where a model computes, and in which precision: the CPU or a GPU; float32, or recurrent layers in less."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rnnfast.models.choices import DeviceChoice, Precision
from rnnfast.models.next_word import NextWord
from rnnfast.nn import ops
from rnnfast.nn.freezing import unfreeze
from rnnfast.nn.layers import Recurrent
from rnnfast.nn.quantization import quantize

CPU = torch.device("cpu")

_NARROW_TARGETS = ("amx", "avx512_bf16", "amx_emulated")
"""Targets of the CPU that multiply bfloat16 themselves; the others widen it first, which is slower than float32."""


class DeviceError(ValueError):
    """A device that is not there, or a precision that it has not."""


def find_device(choice: DeviceChoice) -> torch.device:
    """The device that a choice means: auto is the CPU, unless this machine has a GPU that rnnfast computes on.

    Raises:
        DeviceError: cuda was chosen, and there is no such GPU.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if choice == "cpu":
        return CPU
    device = torch.device("cuda")
    if not torch.cuda.is_available():
        reason = "this machine has no NVIDIA GPU that torch can use (rnnfast doctor says why)"
    elif why := ops.why_not(device, torch.float32):
        reason = why
    else:
        return device
    if choice == "cuda":
        raise DeviceError(f"device must be auto or cpu, got: cuda; {reason}")
    return CPU


def precisions(device: torch.device) -> tuple[Precision, ...]:
    """The precisions that a model can score in on a device."""
    if device.type == "cuda":
        return "fp32", "bf16"
    return "fp32", "bf16", "int8"


def is_fast(precision: Precision, device: torch.device) -> bool:
    """Whether a device has units of its own for a precision, so that it may be faster there than float32."""
    if precision == "bf16":
        return device.type == "cuda" or ops.cpu_target() in _NARROW_TARGETS
    return precision in precisions(device)


def device_of(model: nn.Module) -> torch.device:
    """Where the weights of a model are; the CPU where it has none."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return CPU if first is None else first.device


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; to a GPU it goes through pinned memory, and nobody waits for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@contextmanager
def computing(model: nn.Module, precision: Precision) -> Iterator[None]:
    """In the block the recurrent layers of a model compute in a precision, and the output layer of a language model.

    They do so as under autocast; all else is in float32.

    What a layer gives is float32 again. int8 is not for this: `rnnfast.quantize` makes a model of it.
    """
    with ExitStack() as undo:
        for layer in model.modules() if precision == "bf16" else ():
            if isinstance(layer, Recurrent | NextWord):
                casting = _Casting()
                for handle in (
                    layer.register_forward_pre_hook(casting.enter),
                    layer.register_forward_hook(casting.leave, always_call=True),
                ):
                    undo.callback(handle.remove)
        yield


ModelCopy = TypeVar("ModelCopy", bound=nn.Module)


def running(model: ModelCopy, precision: Precision, device: torch.device) -> ModelCopy:
    """The model as it scores: itself in fp32 on the CPU, else a copy there, whose layers are int8 if it says so.

    For bf16 it is to be called within `computing`.
    """
    if precision != "int8" and device.type == "cpu":
        return model
    copied = copy.deepcopy(model)
    unfreeze(copied)
    if precision == "int8":
        quantize(copied)
    return copied.to(device)


def autocast_of(precision: Precision) -> Precision:
    """What `computing` is told where a model is made by `running`."""
    return "bf16" if precision == "bf16" else "fp32"


class _Casting:
    """What is done before and after a call of a layer."""

    def __init__(self) -> None:
        self._autocast: list[torch.autocast] = []

    def enter(self, layer: nn.Module, arguments: Any) -> None:
        autocast = torch.autocast(device_of(layer).type, torch.bfloat16)
        autocast.__enter__()
        self._autocast.append(autocast)

    def leave(self, layer: nn.Module, arguments: Any, result: Any) -> Any:
        self._autocast.pop().__exit__(None, None, None)
        return _in_float32(result)


def _in_float32(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(map(_in_float32, result))
    return result.float() if isinstance(result, Tensor) else result
