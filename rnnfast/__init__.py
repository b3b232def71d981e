"""The fastest recurrent layers for PyTorch, and what text and sensor models need around them.

The layers are here. All else is in the packages `text`, `series`, `models`, `training`, `evaluation`, `scoring` and
`reports` of this one.
"""

from rnnfast.nn import (
    GRU,
    LSTM,
    RNN,
    Acceleration,
    Freezing,
    GRUCell,
    LSTMCell,
    Quantization,
    RNNCell,
    accelerate,
    cpu_target,
    cpu_targets,
    freeze,
    quantize,
    restore,
    torch_tools,
    unfreeze,
)

torch_tools.prepare()

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Acceleration",
    "Freezing",
    "GRUCell",
    "LSTMCell",
    "Quantization",
    "RNNCell",
    "accelerate",
    "cpu_target",
    "cpu_targets",
    "freeze",
    "quantize",
    "restore",
    "unfreeze",
]
