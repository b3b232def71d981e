"""Labels that are one of two or more classes.

Of two classes a model of texts gives one logit, that of the second; of more, and for windows, one for each class.
What is given is (N,), the probability of the second class, or (N, K).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rnnfast.labels.base import Edges, LabelKind, Linear, LinearOptions
from rnnfast.labels.metrics import binary_metrics, class_metrics, label_metrics

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

_MOST_INT8 = 127
_STEPS = 60  # of the solver: more change no figure
# The gradient of the mean loss at which the solver stops, of up to ten classes. Of more each has fewer rows, and a
# smaller share of the gradient from the start.
_TOLERANCE, _FEW = 1e-3, 10


class Classes(LabelKind):
    """One of several classes, whose names are as written.

    Example:
        >>> import torch
        >>> stars = Classes(names=("1", "2", "3"))
        >>> stars.outputs, stars.called(stars.given(torch.tensor([[0.0, 2.0, 1.0]]))).tolist()
        (3, [1])
    """

    task: Literal["classify"] = "classify"

    floor_name: ClassVar[str] = "majority"
    main: ClassVar[tuple[str, int]] = ("accuracy", 1)

    @property
    def is_pair(self) -> bool:
        """Whether there are two."""
        return len(self.names) == 2

    @property
    def outputs(self) -> int:
        return 1 if self.is_pair else len(self.names)

    @property
    def window_outputs(self) -> int:
        return len(self.names)

    @property
    def storage(self) -> pa.DataType:
        import pyarrow as pa

        return pa.int8() if len(self.names) <= _MOST_INT8 else pa.int16()

    def encode(self, labels: pa.ChunkedArray) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.compute as pc

        return pc.index_in(labels, pa.array(self.names)).cast(self.storage)

    def require_trainable(self, truth: np.ndarray) -> None:
        if truth[0] == truth.min() == truth.max():
            both = "both 0 and 1" if self.is_pair else "two classes or more"
            raise ValueError(f"labels must hold {both}, got only: {truth[0]}")

    def losses(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """Cross entropy in nats."""
        from torch.nn import functional as F

        if outputs.ndim > 1:
            return F.cross_entropy(outputs, truth.long(), reduction="none")
        truth = truth.to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, truth, reduction="none")

    def loss(self, outputs: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        losses = self.losses(outputs, truth)
        if weights is None:
            return losses.mean()
        own = weights[truth.long()].to(losses.dtype)
        return (losses * own).sum() / own.sum()

    def given(self, outputs: Tensor) -> np.ndarray:
        # In float64: torch's float32 sigmoid gives the last of many numbers another last bit than the others.
        exact = outputs.double()
        result: np.ndarray = (
            (exact.sigmoid() if outputs.ndim == 1 else exact.softmax(1)).float().numpy()
        )
        return result

    def errors(self, truth: np.ndarray, given: np.ndarray) -> np.ndarray:
        return np.asarray(self.called(given) != truth, np.float64)

    def summary(self, truth: np.ndarray, given: np.ndarray) -> float:
        """The accuracy."""
        return float(1 - self.errors(truth, given).mean())

    def figures(self, truth: np.ndarray, given: np.ndarray) -> dict[str, Any]:
        if given.ndim == 1:
            return binary_metrics(truth, given)
        return class_metrics(truth, given, self.names)

    def floor_figures(self, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        called = self.called(self.floor(train, len(test)))
        figures = label_metrics(test, called, len(self.names))
        return {name: figures[name] for name in ("rows", "accuracy", "macro_f1")}

    def floor(self, train: np.ndarray, rows: int) -> np.ndarray:
        shares = np.bincount(train, minlength=len(self.names)) / len(train)
        one = shares[1] if self.is_pair else shares
        return np.repeat(np.asarray(one, np.float32)[None], rows, 0)

    def weights(self, train: np.ndarray) -> np.ndarray | None:
        counts = np.bincount(train, minlength=len(self.names))
        result: np.ndarray = len(train) / (len(self.names) * np.maximum(counts, 1))
        return result

    def sides(self, truth: np.ndarray) -> np.ndarray:
        if self.is_pair:
            return truth[:, None].astype(np.float64)
        return np.asarray(truth[:, None] == np.arange(len(self.names)), np.float64)

    def solve(self, matrix: Any, truth: np.ndarray, options: LinearOptions) -> Linear:
        from sklearn.linear_model import LogisticRegression

        given: dict[str, Any] = {
            "C": 1 / options.penalty,
            "class_weight": "balanced" if options.balanced else None,
            "random_state": options.seed,
        }
        if self.is_pair:
            fitted = LogisticRegression(solver="liblinear", dual=True, **given).fit(matrix, truth)
            return Linear(fitted.coef_, fitted.intercept_)
        tolerance = _TOLERANCE * min(1, _FEW / len(self.names))
        fitted = LogisticRegression(solver="lbfgs", tol=tolerance, max_iter=_STEPS, **given)
        fitted.fit(matrix, truth)
        weight = np.zeros((len(self.names), matrix.shape[1]))
        bias = np.full(len(self.names), fitted.intercept_.min() - 10.0)
        # scikit-learn has one row for two classes, as where a third one has no row.
        rows = fitted.classes_ if len(fitted.classes_) > 2 else fitted.classes_[1:]
        weight[rows], bias[rows] = fitted.coef_, fitted.intercept_
        if len(fitted.classes_) == 2:
            bias[fitted.classes_[0]] = 0.0
        return Linear(weight, bias)

    def fields(self) -> list[tuple[str, pa.DataType]]:
        import pyarrow as pa

        own = [] if self.is_pair else self.names
        of_class = [(f"score_{name}", pa.float32()) for name in own]
        return [("score", pa.float32()), ("label", pa.string()), *of_class]

    def columns(self, given: np.ndarray) -> list[pa.Array]:
        import pyarrow as pa

        called = self.called(given)
        labels = pa.array(np.asarray(self.names, dtype=object)[called], pa.string())
        if given.ndim == 1:
            return [pa.array(given), labels]
        score = np.take_along_axis(given, called[:, None], 1)[:, 0]
        own = [] if self.is_pair else [pa.array(column) for column in given.T.copy()]
        return [pa.array(score), labels, *own]

    def read(self, scores: pa.Table) -> np.ndarray:
        result: np.ndarray = scores["score"].to_numpy() if self.is_pair else super().read(scores)
        return result

    def features(self, given: np.ndarray) -> dict[str, tuple[np.ndarray, Edges]]:
        if given.ndim == 1:
            return {"score": (given, "shares")}
        return {"label": (self.called(given), "places"), "score": (given.max(1), "shares")}

    def called(self, given: np.ndarray) -> np.ndarray:
        return (given >= 0.5).astype(np.int64) if given.ndim == 1 else given.argmax(1)

    def leaning(self, outputs: Tensor, place: int) -> Tensor:
        if outputs.ndim == 1:
            return outputs if place else -outputs
        others = [other for other in range(outputs.shape[1]) if other != place]
        return outputs[:, place] - outputs[:, others].logsumexp(1)
