"""Labels that are numbers, such as a rating or the days that are left.

A model gives them standardised by the training rows. What is given is (N,) in the units of the labels. The interval is
split conformal (Papadopoulos et al., "Inductive Confidence Machines for Regression", 2002): as wide on both sides as
the errors of a share of the validation rows are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from rnnfast.labels.base import Edges, LabelKind, Linear, LinearOptions
from rnnfast.labels.metrics import number_metrics

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

_PRIOR = 10  # rows of the mean that a feature counts as seen in beside its own


class Numbers(LabelKind):
    """A number.

    Attributes:
        names: one, of the column.
        mean: of the training rows.
        scale: their standard deviation.
        margin: half the width of an interval, in the units of the labels; None: it is not known.
        coverage: the share of the truth that the interval is to hold.

    Example:
        >>> rating = Numbers(names=("rating",)).known(np.array([1.0, 5.0]))
        >>> rating.mean, rating.scale
        (3.0, 2.0)
    """

    task: Literal["regress"] = "regress"
    mean: float = 0.0
    scale: float = 1.0
    margin: float | None = None
    coverage: float = 0.9

    floor_name: ClassVar[str] = "mean"
    main: ClassVar[tuple[str, int]] = ("mae", -1)
    is_error: ClassVar[bool] = True

    @property
    def outputs(self) -> int:
        return 1

    @property
    def storage(self) -> pa.DataType:
        import pyarrow as pa

        return pa.float64()

    def encode(self, labels: pa.ChunkedArray) -> pa.ChunkedArray:
        return labels.cast(self.storage)

    def known(self, train: np.ndarray) -> Self:
        scale = float(train.std())
        return self.model_copy(update={"mean": float(train.mean()), "scale": scale or 1.0})

    def calibrated(
        self, truth: np.ndarray, given: np.ndarray, groups: np.ndarray | None = None
    ) -> Self:
        """The same with the width that holds a share of the validation rows.

        Rows of one device are alike, so of several devices each counts as one: the share is that of one device more,
        of which nothing is known (Dunn et al., "Distribution-Free Prediction Sets for Two-Layer Hierarchical
        Models", 2022).
        """
        devices = 1 if groups is None else len(np.unique(groups))
        count = devices if devices > 1 else len(truth)
        level = math.ceil((len(truth) + len(truth) / count) * self.coverage)
        sizes = np.sort(np.abs(truth - given.astype(np.float64)))
        return self.model_copy(update={"margin": float(sizes[min(level, len(sizes)) - 1])})

    def require_trainable(self, truth: np.ndarray) -> None:
        if truth.min() == truth.max():
            raise ValueError(f"labels must be two numbers or more, got only: {truth[0]:g}")

    def losses(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """Squared errors, in standard deviations of the training rows."""
        result: Tensor = (outputs.flatten() - self.standardised(truth).to(outputs.dtype)).square()
        return result

    def standardised(self, truth: Any) -> Any:
        """Labels in standard deviations from the mean of the training rows."""
        return (truth - self.mean) / self.scale

    def given(self, outputs: Tensor) -> np.ndarray:
        units = outputs.double().flatten() * self.scale + self.mean
        result: np.ndarray = units.float().numpy()
        return result

    def errors(self, truth: np.ndarray, given: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.abs(truth - given.astype(np.float64))
        return result

    def summary(self, truth: np.ndarray, given: np.ndarray) -> float:
        """The mean squared error, in standard deviations of the training rows."""
        return float(np.square(self.errors(truth, given) / self.scale).mean())

    def figures(self, truth: np.ndarray, given: np.ndarray) -> dict[str, Any]:
        return number_metrics(truth, given, self.mean, self.margin)

    def floor_figures(self, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        return number_metrics(test, self.floor(train, len(test)), self.mean)

    def floor(self, train: np.ndarray, rows: int) -> np.ndarray:
        return np.full(rows, train.mean(), np.float32)

    def sides(self, truth: np.ndarray) -> np.ndarray:
        return np.asarray(self.standardised(truth[:, None]), np.float64)

    def evidence(self, sums: np.ndarray, total: np.ndarray) -> np.ndarray:
        """The mean of the rows that hold a feature, drawn to that of all rows where these are few."""
        result: np.ndarray = sums / (total + _PRIOR)
        return result

    def solve(self, matrix: Any, truth: np.ndarray, options: LinearOptions) -> Linear:
        from sklearn.linear_model import Ridge

        ridge = Ridge(alpha=options.penalty, solver="sparse_cg", tol=1e-4)
        fitted = ridge.fit(matrix, self.standardised(truth))
        return Linear(fitted.coef_, np.asarray(fitted.intercept_))

    def fields(self) -> list[tuple[str, pa.DataType]]:
        import pyarrow as pa

        return [(name, pa.float32()) for name in ("number", "low", "high")]

    def columns(self, given: np.ndarray) -> list[pa.Array]:
        import pyarrow as pa

        if self.margin is None:
            return [pa.array(given), *[pa.nulls(len(given), pa.float32())] * 2]
        ends = given - self.margin, given + self.margin
        return [pa.array(each.astype(np.float32)) for each in (given, *ends)]

    def read(self, scores: pa.Table) -> np.ndarray:
        result: np.ndarray = scores["number"].to_numpy()
        return result

    def features(self, given: np.ndarray) -> dict[str, tuple[np.ndarray, Edges]]:
        return {"number": (self.standardised(given), "deviations")}

    def called(self, given: np.ndarray) -> np.ndarray:
        return np.zeros(len(given), np.int64)

    def leaning(self, outputs: Tensor, place: int) -> Tensor:
        return outputs.flatten() * self.scale
