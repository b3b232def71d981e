"""What every kind of label says of itself.

Nothing at the top of these files needs torch or scikit-learn: settings and run folders are read without them.

Dimensions: N rows, K names, O outputs of a model, F features of a linear model.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

Edges = Literal["shares", "places", "deviations"]
"""How values are counted for drift: probabilities, places of names, or standard deviations."""


class LabelKind(BaseModel):
    """A kind of label. Immutable; unknown names fail.

    The *truth* of rows is what their labels are encoded as. What is *given* for rows is what a model says of them in
    terms of the labels: probabilities or numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]

    floor_name: ClassVar[str]
    """What needs no model is called."""
    main: ClassVar[tuple[str, int]]
    """The figure that people look at first, and 1 where more of it is better, else -1."""
    is_error: ClassVar[bool] = False
    """Whether `summary` is an error, of which less is better, and not a share of what is right."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """O, how many numbers a model of texts gives for a row: (N,) where it is one, else (N, O)."""

    @property
    def window_outputs(self) -> int:
        """How many a model of windows gives, (N, O) always."""
        return self.outputs

    @property
    @abstractmethod
    def storage(self) -> pa.DataType:
        """The type of a column of truth."""

    @abstractmethod
    def encode(self, labels: pa.ChunkedArray) -> pa.ChunkedArray:
        """The truth, as a column, of labels as strings, none of them null."""

    def truth(self, column: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The truth, as an array, of such a column."""
        result: np.ndarray = column.to_numpy()
        return result

    def known(self, train: np.ndarray) -> Self:
        """The same with what the training rows say, given their truth."""
        return self

    def calibrated(
        self, truth: np.ndarray, given: np.ndarray, groups: np.ndarray | None = None
    ) -> Self:
        """The same with what the validation rows say of a trained model.

        Args:
            truth: of the rows.
            given: for the rows.
            groups: (N,) which device each row is of, where the rows to come are of other devices.
        """
        return self

    def require_trainable(self, truth: np.ndarray) -> None:
        """Raises ValueError for the truth of training rows from which nothing can be learned."""

    @abstractmethod
    def losses(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """The loss of each row (N,)."""

    def loss(self, outputs: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean loss () of outputs; `weights` are those of classes."""
        return self.losses(outputs, truth).mean()

    @abstractmethod
    def given(self, outputs: Tensor) -> np.ndarray:
        """What the outputs of a model say, float32."""

    @abstractmethod
    def errors(self, truth: np.ndarray, given: np.ndarray) -> np.ndarray:
        """How wrong each row is (N,): by this a model is held against another one."""

    @abstractmethod
    def summary(self, truth: np.ndarray, given: np.ndarray) -> float:
        """The figure by which a model is held against itself in another precision."""

    @abstractmethod
    def figures(self, truth: np.ndarray, given: np.ndarray) -> dict[str, Any]:
        """How good that is, as plain numbers, with `rows`."""

    @abstractmethod
    def floor_figures(self, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        """How good that is on test rows, by what knows the truth of the training rows alone."""

    @abstractmethod
    def floor(self, train: np.ndarray, rows: int) -> np.ndarray:
        """What is given for so many rows by what knows the truth of the training rows alone."""

    def weights(self, train: np.ndarray) -> np.ndarray | None:
        """The weights of classes that give each the same say; None where there are none."""
        return None

    @abstractmethod
    def sides(self, truth: np.ndarray) -> np.ndarray:
        """What features of a linear model speak for or against, (N, O)."""

    def evidence(self, sums: np.ndarray, total: np.ndarray) -> np.ndarray:
        """How much each feature speaks for each side, (O, F).

        Args:
            sums: (O, F) over the rows that hold a feature, of their sides.
            total: (F,) how many rows hold it.
        """
        return log_count_ratios(sums, total)

    @abstractmethod
    def solve(self, matrix: Any, truth: np.ndarray, options: LinearOptions) -> Linear:
        """The weights of a linear model of features, a sparse matrix (N, F)."""

    @abstractmethod
    def fields(self) -> list[tuple[str, pa.DataType]]:
        """The columns of scores, beside those that say which row it is."""

    @abstractmethod
    def columns(self, given: np.ndarray) -> list[pa.Array]:
        """Those columns."""

    def read(self, scores: pa.Table) -> np.ndarray:
        """What was given, of such columns."""
        result: np.ndarray = np.stack(
            [scores[f"score_{name}"].to_numpy() for name in self.names], 1
        )
        return result

    @abstractmethod
    def features(self, given: np.ndarray) -> dict[str, tuple[np.ndarray, Edges]]:
        """What is counted of what is given, for drift: values (N,) by name, and how they are counted."""

    @abstractmethod
    def called(self, given: np.ndarray) -> np.ndarray:
        """Which of the names each row is called (N,), the surest where there are several."""

    @abstractmethod
    def leaning(self, outputs: Tensor, place: int) -> Tensor:
        """How much the outputs speak for a name (N,): log-odds, or for numbers the number."""


class LinearOptions(BaseModel):
    """How a linear model is solved for.

    Attributes:
        penalty: the strength of the L2 penalty.
        seed: of what is random.
        balanced: whether all classes have the same say.
    """

    model_config = ConfigDict(frozen=True)

    penalty: float
    seed: int = 0
    balanced: bool = False


class Linear:
    """A linear model: weights (O, F) and what is added, (O,)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.bias = np.atleast_2d(weight), np.atleast_1d(bias)


def log_count_ratios(sums: np.ndarray, total: np.ndarray) -> np.ndarray:
    """How much more often features (F,) occur in the rows of a side than in the others: natural logarithms, (O, F).

    Each feature is counted in two more rows, which are of a side as often as all features are. So one that is rare,
    or as frequent in a side as anywhere, is near 0, however many sides there are. Of two sides of one size that is
    ``log((1 + p) / (1 + q))``, p being the rows of a side and q the others: Wang and Manning, "Baselines and Bigrams:
    Simple, Good Sentiment and Topic Classification" (2012).

    Args:
        sums: (O, F) over the rows that hold a feature, of their sides.
        total: (F,) how many rows hold it.

    >>> log_count_ratios(np.array([[3.0, 0.0]]), np.array([4.0, 3.0])).round(2).tolist()
    [[0.74, -1.36]]
    """
    share = ((1 + sums.sum(1)) / (2 + total.sum()))[:, None]
    inside, outside = sums + 2 * share, total - sums + 2 * (1 - share)
    result: np.ndarray = np.log(inside / outside) - np.log(share / (1 - share))
    return result
