"""The names that settings of models are chosen from.

Without pydantic, since the command line shows them before it loads anything.
"""

from __future__ import annotations

from typing import Literal

TextCell = Literal["rnn", "gru", "lstm", "mlp", "cnn", "ngrams"]
LanguageCell = Literal["rnn", "gru", "lstm"]
CellChoice = Literal["auto", "rnn", "gru", "lstm", "mlp", "cnn", "ngrams"]
"""What is asked for of a classifier of texts: a cell, or what is best on the validation rows."""
WindowCell = Literal[
    "rnn", "gru", "lstm", "linear", "nlinear", "dlinear", "mlp", "cnn", "persistence", "seasonal"
]
WindowCellChoice = Literal["auto", WindowCell]
"""A cell, or auto: a recurrent one, whose place the best of what stands beside it takes where that is better."""
Preset = Literal["default", "lecture"]
LanguagePreset = Literal["default", "best"]
"""Of a language model: what is trained in minutes, or what classifiers have gained most from."""
LabelTask = Literal["classify", "tag", "regress"]
"""What labels are: one of some classes, several at once, or a number."""
Task = Literal["forecast", "classify", "tag", "regress"]
Precision = Literal["fp32", "bf16", "int8"]
"""What the recurrent layers of a model compute in: float32, or bfloat16 or int8 with sums in float32 or int32."""
ScoringPrecision = Literal["auto", Precision]
"""A precision to score in, or auto: the one that suits."""
TrainingPrecision = Literal["fp32", "bf16"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
"""Where a model computes; auto: on the GPU, where there is one."""
SplitChoice = Literal["auto", "spaces", "characters"]
"""What parts the words of texts: one of `rnnfast.text.vocabulary.SplitBy`, or what suits the texts."""
