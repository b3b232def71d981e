"""What the kernels can serve: cells, devices and dtypes."""

import torch
from torch import Tensor

import rnnfast._C  # noqa: F401  (registers the operators)

CELLS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
"""The cells that the kernels have, and the number of gates of each, G."""

NUMBERS = {cell: number for number, cell in enumerate(CELLS)}
"""What the operators call them."""

COMPUTED_DTYPES = (torch.float32, torch.float64)
"""What the kernels compute in as it is. bfloat16 is multiplied with sums in float32; on the CPU float16 is computed in
float32 and rounded at the end.
"""

NARROW_DTYPES = (torch.float16, torch.bfloat16)

HAS_CUDA = torch._C._dispatch_has_kernel_for_dispatch_key("rnnfast::layer", "CUDA")
"""Whether the extension was compiled with the kernels for GPUs."""


def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    """The reason why the kernels cannot serve this device and dtype, or None if they can."""
    if device.type not in ("cpu", "cuda", "meta"):
        return f"device must be cpu or cuda, got: {device.type} (torch.nn.RNN runs there)"
    if device.type == "cuda" and not HAS_CUDA:
        return (
            "device must be cpu, got: cuda (rnnfast was built without it; torch.nn.RNN runs there)"
        )
    if dtype not in COMPUTED_DTYPES + NARROW_DTYPES:
        return f"dtype must be float32, float64, float16 or bfloat16, got: {dtype}"
    return None


def check(cell: str, input: Tensor) -> None:
    """Raises RuntimeError unless the kernels have this cell, and serve this input's device and dtype."""
    if not (input.is_cpu and input.dtype in COMPUTED_DTYPES):  # which takes a tenth of the time
        reason = why_not(input.device, input.dtype)
        if reason is not None:
            raise RuntimeError(f"rnnfast: {reason}")
    if cell not in CELLS:
        raise RuntimeError(f"rnnfast: cell must be one of {', '.join(CELLS)}, got: {cell}")


def is_narrow(input: Tensor) -> bool:
    """Whether the numbers are computed in float32 and rounded at the end."""
    return input.dtype == torch.float16 and not input.is_cuda
