"""What the labels of rows are, one file a kind: encoding, outputs of a model, loss, figures, columns of the scores."""

from rnnfast.labels.classes import Classes
from rnnfast.labels.metrics import (
    binary_metrics,
    calibration,
    label_metrics,
    number_metrics,
    tag_metrics,
)
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import Tags
from rnnfast.labels.target import Target, classes_of

__all__ = [
    "Classes",
    "Numbers",
    "Tags",
    "Target",
    "binary_metrics",
    "calibration",
    "classes_of",
    "label_metrics",
    "number_metrics",
    "tag_metrics",
]
