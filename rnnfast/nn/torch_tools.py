"""What tools of torch have to know about the layers: its compiler, its counter of operations, its quantization.

Each is prepared when somebody imports it, so that importing rnnfast loads none of them.
"""

from functools import wraps
from typing import Any

from torch import nn

from rnnfast.nn import flops, ops, to_onnx
from rnnfast.nn.acceleration import restore
from rnnfast.nn.imports import when_imported
from rnnfast.nn.layers import Recurrent
from rnnfast.nn.stand_in import StandIn


def prepare() -> None:
    """Prepares those that are loaded, and the others for when they are."""
    when_imported("torch._dynamo.variables.builder", _let_the_compiler_in)
    when_imported("torch.utils.flop_counter", _have_operations_counted)
    when_imported("torch.ao.quantization.quantize", _have_torch_quantize)
    when_imported("torch.onnx", to_onnx.register_traced)
    when_imported("torch.onnx._internal.exporter._registration", to_onnx.register_exported)


def _let_the_compiler_in(builder: Any) -> None:
    """Dynamo refuses whatever is a torch.nn.LSTM, because it cannot trace that one's forward; it can ours.

    Its switch is on for our layers alone: torch's go on as they do without rnnfast.
    """
    original = builder.VariableBuilder.wrap_module

    @wraps(original)
    def wrap_module(self: Any, value: nn.Module) -> Any:
        if not isinstance(value, Recurrent):
            return original(self, value)
        with builder.config.patch(allow_rnn=True):
            return original(self, value)

    builder.VariableBuilder.wrap_module = wrap_module


def _have_operations_counted(flop_counter: Any) -> None:
    register = flop_counter.register_flop_formula
    register(ops.LAYER, get_raw=True)(flops.layer)
    register(ops.LAYER_BACKWARD, get_raw=True)(flops.layer_backward)
    register(ops.QUANTIZED_LAYER, get_raw=True)(flops.quantized_layer)


def _have_torch_quantize(quantize: Any) -> None:
    """Quantization finds a layer by its exact type, so it gets those of torch in its copy of the model."""
    original = quantize._propagate_qconfig_helper

    @wraps(original)
    def _propagate_qconfig_helper(module: nn.Module, *arguments: Any, **options: Any) -> None:
        if isinstance(module, StandIn):
            restore(module)
        original(module, *arguments, **options)

    quantize._propagate_qconfig_helper = _propagate_qconfig_helper
