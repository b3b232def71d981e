"""The names that settings of models are chosen from.

Without pydantic, since the command line shows them before it loads anything.
"""

from __future__ import annotations

from typing import Literal

TextCell = Literal["rnn", "gru", "lstm", "mlp", "cnn", "ngrams"]
CellChoice = Literal["auto", "rnn", "gru", "lstm", "mlp", "cnn", "ngrams"]
"""What is asked for of a classifier of texts: a cell, or what is best on the validation rows."""
WindowCell = Literal[
    "rnn", "gru", "lstm", "linear", "nlinear", "dlinear", "mlp", "cnn", "persistence", "seasonal"
]
WindowCellChoice = Literal["auto", WindowCell]
"""A cell, or auto: a recurrent one, whose place the best of what stands beside it takes where that is better."""
Preset = Literal["default", "lecture"]
LabelTask = Literal["classify", "tag", "regress"]
"""What labels are: one of some classes, several at once, or a number."""
Task = Literal["forecast", "classify", "tag", "regress"]
SplitChoice = Literal["auto", "spaces", "characters"]
"""What parts the words of texts: one of `rnnfast.text.vocabulary.SplitBy`, or what suits the texts."""
