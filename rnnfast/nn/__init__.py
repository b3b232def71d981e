"""The recurrent layers: modules, operators, their plain reference, and what puts them into a model."""

from rnnfast.nn.acceleration import Acceleration, accelerate, restore
from rnnfast.nn.cells import GRUCell, LSTMCell, RNNCell
from rnnfast.nn.freezing import Freezing, freeze, unfreeze
from rnnfast.nn.layers import GRU, LSTM, RNN
from rnnfast.nn.ops import cpu_target, cpu_targets
from rnnfast.nn.quantization import Quantization, quantize

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
