"""The recurrent layers: modules, operators, their plain reference, and what puts them into a model."""

from rnnfast.nn.acceleration import Acceleration, accelerate, restore
from rnnfast.nn.layers import GRU, LSTM, RNN
from rnnfast.nn.ops import cpu_target, cpu_targets

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Acceleration",
    "accelerate",
    "cpu_target",
    "cpu_targets",
    "restore",
]
