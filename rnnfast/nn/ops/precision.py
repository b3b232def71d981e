"""Whether torch's switches let products of float32 be those of fewer bits."""

import torch
from torch import Tensor


def may_round(input: Tensor) -> bool:
    """Whether products of float32 may be those of fewer bits: TF32 on a GPU, bfloat16 on the CPU."""
    if input.dtype != torch.float32:
        return False
    return _allows_tf32() if input.is_cuda else _allows_bf16()


def _allows_tf32() -> bool:
    """What torch's switch says, in whichever of its ways it was set; torch.compile compiles again when it changes."""
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def _allows_bf16() -> bool:
    """Whether the CPU may multiply float32 as bfloat16: under autocast, or by torch's switches of its own products."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return _switched_to_bf16()


def _switched_to_bf16() -> bool:
    """What ``torch.backends.mkldnn.matmul.fp32_precision`` and that of ``rnn`` say, 16 us a call faster."""
    precision = torch._C._get_fp32_precision_getter
    return precision("mkldnn", "matmul") == "bf16" or precision("mkldnn", "rnn") == "bf16"


# What torch.compiler.assume_constant_result sets; it would load the compiler as well, which takes as long as torch.
_allows_tf32._dynamo_marked_constant = True  # type: ignore[attr-defined]
_switched_to_bf16._dynamo_marked_constant = True  # type: ignore[attr-defined]
