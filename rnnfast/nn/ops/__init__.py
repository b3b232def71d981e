"""The recurrent layer as an operator of torch: the only caller of ``torch.ops.rnnfast``.

One call is one layer in one direction, on the CPU or on an NVIDIA GPU. The kernels are in ``csrc``; this package adds
what tracing and differentiation need. It leaves torch's modules, their shapes and autocast to
:mod:`rnnfast.nn.layers`.
"""

from rnnfast.nn.ops.one_layer import layer
from rnnfast.nn.ops.operators import LAYER, LAYER_BACKWARD, QUANTIZED_LAYER
from rnnfast.nn.ops.pooling import POOLINGS, pooled
from rnnfast.nn.ops.quantized import check_packed, quantized_layer, quantized_stack
from rnnfast.nn.ops.stacked import stack
from rnnfast.nn.ops.support import CELLS, COMPUTED_DTYPES, HAS_CUDA, NARROW_DTYPES, NUMBERS, why_not
from rnnfast.nn.ops.targets import cpu_peak, cpu_target, cpu_target_ran, cpu_targets

__all__ = [
    "CELLS",
    "COMPUTED_DTYPES",
    "HAS_CUDA",
    "LAYER",
    "LAYER_BACKWARD",
    "NARROW_DTYPES",
    "NUMBERS",
    "POOLINGS",
    "QUANTIZED_LAYER",
    "check_packed",
    "cpu_peak",
    "cpu_target",
    "cpu_target_ran",
    "cpu_targets",
    "layer",
    "pooled",
    "quantized_layer",
    "quantized_stack",
    "stack",
    "why_not",
]
