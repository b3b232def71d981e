"""The fastest recurrent layers for PyTorch, and what text and sensor models need around them."""

from rnnfast.layers import GRU, LSTM, RNN, Acceleration, accelerate
from rnnfast.ops import cpu_target, cpu_targets

__version__ = "0.1.0"
__all__ = ["GRU", "LSTM", "RNN", "Acceleration", "accelerate", "cpu_target", "cpu_targets"]
