"""What stands beside a model that is measured: simpler models, and what needs none."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Beside(NamedTuple):
    """Its figures on the test rows, and how wrong each row or each block of windows is (N,)."""

    figures: dict[str, Any]
    errors: np.ndarray


NOTHING: Mapping[str, Beside] = {}
