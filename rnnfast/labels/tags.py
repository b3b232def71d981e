"""Labels of which a row has none, one or several at once.

A model gives a logit for each. What is given is (N, K), a probability for each. From its own threshold on, which the
validation rows choose, a row has a tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from rnnfast.labels.base import Edges, LabelKind, Linear, LinearOptions
from rnnfast.labels.metrics import tag_metrics

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

SEPARATOR = ";"
_LEAST = 5  # validation rows with a tag, and without it, to choose its threshold by
_SHRINK = (
    10  # rows with a tag for which the threshold that they choose counts half, beside one half
)


class Tags(LabelKind):
    """Several labels at once.

    Attributes:
        names: of the tags, as written.
        thresholds: of each the probability from which on a row has it; empty: one half.

    Example:
        >>> tags = Tags(names=("late", "broken"))
        >>> tags.texts(np.array([[0.9, 0.2], [0.7, 0.8]]))
        ['late', 'late;broken']
    """

    task: Literal["tag"] = "tag"
    thresholds: tuple[float, ...] = ()

    floor_name: ClassVar[str] = "most frequent"
    main: ClassVar[tuple[str, int]] = ("micro_f1", 1)

    @property
    def outputs(self) -> int:
        return len(self.names)

    @property
    def cuts(self) -> np.ndarray:
        """The thresholds (K,)."""
        return np.array(self.thresholds or [0.5] * len(self.names))

    @property
    def storage(self) -> pa.DataType:
        import pyarrow as pa

        return pa.list_(pa.int8(), len(self.names))

    def encode(self, labels: pa.ChunkedArray) -> pa.ChunkedArray:
        import pyarrow as pa

        coded = labels.combine_chunks().dictionary_encode()
        places = {name: place for place, name in enumerate(self.names)}
        rows = np.zeros((len(coded.dictionary), len(self.names)), np.int8)
        for row, text in enumerate(coded.dictionary.to_pylist()):
            rows[row, [places[name] for name in split_tags(text)]] = 1
        flat = pa.array(rows[coded.indices.to_numpy()].ravel())
        return pa.chunked_array([pa.FixedSizeListArray.from_arrays(flat, len(self.names))])

    def truth(self, column: pa.Array | pa.ChunkedArray) -> np.ndarray:
        import pyarrow as pa

        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        result: np.ndarray = whole.flatten().to_numpy().reshape(-1, len(self.names))
        return result

    def calibrated(
        self, truth: np.ndarray, given: np.ndarray, groups: np.ndarray | None = None
    ) -> Self:
        """The thresholds with the highest F1, drawn to one half where few rows have the tag."""
        cuts = [_threshold(truth[:, k], given[:, k]) for k in range(len(self.names))]
        return self.model_copy(update={"thresholds": tuple(cuts)})

    def require_trainable(self, truth: np.ndarray) -> None:
        if (truth == truth[0]).all():
            raise ValueError("labels must differ between rows, got the same tags in all")

    def losses(self, outputs: Tensor, truth: Tensor) -> Tensor:
        """The mean cross entropy of all tags, in nats."""
        return self._of_tags(outputs, truth, None)

    def loss(self, outputs: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        return self._of_tags(outputs, truth, weights).mean()

    def _of_tags(self, outputs: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:
        from torch.nn import functional as F

        truth = truth.to(outputs.dtype)
        of_each = F.binary_cross_entropy_with_logits(
            outputs, truth, pos_weight=weights, reduction="none"
        )
        return of_each.mean(1)

    def given(self, outputs: Tensor) -> np.ndarray:
        result: np.ndarray = outputs.double().sigmoid().float().numpy()
        return result

    def errors(self, truth: np.ndarray, given: np.ndarray) -> np.ndarray:
        result: np.ndarray = ((given >= self.cuts) != truth).mean(1)
        return result

    def summary(self, truth: np.ndarray, given: np.ndarray) -> float:
        """The micro F1."""
        return float(self.figures(truth, given)["micro_f1"])

    def figures(self, truth: np.ndarray, given: np.ndarray) -> dict[str, Any]:
        return tag_metrics(truth, given, self.names, self.cuts)

    def floor_figures(self, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        half = np.full(len(self.names), 0.5)
        figures = tag_metrics(test, self.floor(train, len(test)), self.names, half)
        wanted = ("rows", "micro_f1", "macro_f1", "subset_accuracy", "hamming_loss")
        return {name: figures[name] for name in wanted}

    def floor(self, train: np.ndarray, rows: int) -> np.ndarray:
        """The tag that most rows have, which each row has then."""
        shares = train.mean(0)
        shares = np.where(shares == shares.max(), 1.0, 0.0)
        return np.repeat(shares.astype(np.float32)[None], rows, 0)

    def weights(self, train: np.ndarray) -> np.ndarray | None:
        held = train.sum(0)
        result: np.ndarray = (len(train) - held) / np.maximum(held, 1)
        return result

    def sides(self, truth: np.ndarray) -> np.ndarray:
        return truth.astype(np.float64)

    def solve(self, matrix: Any, truth: np.ndarray, options: LinearOptions) -> Linear:
        from sklearn.linear_model import LogisticRegression

        weight = np.zeros((len(self.names), matrix.shape[1]))
        bias = np.zeros(len(self.names))
        for place, own in enumerate(truth.T):
            if own.min() == own.max():  # nothing to tell apart
                bias[place] = 10.0 if own[0] else -10.0
                continue
            balanced = "balanced" if options.balanced else None
            fitted = LogisticRegression(
                C=1 / options.penalty,
                class_weight=balanced,
                solver="liblinear",
                dual=True,
                random_state=options.seed,
            ).fit(matrix, own)
            weight[place], bias[place] = fitted.coef_[0], fitted.intercept_[0]
        return Linear(weight, bias)

    def fields(self) -> list[tuple[str, pa.DataType]]:
        import pyarrow as pa

        of_tag = [(f"score_{name}", pa.float32()) for name in self.names]
        return [("labels", pa.string()), *of_tag]

    def columns(self, given: np.ndarray) -> list[pa.Array]:
        import pyarrow as pa

        own = [pa.array(column) for column in given.T.copy()]
        return [pa.array(self.texts(given), pa.string()), *own]

    def texts(self, given: np.ndarray) -> list[str]:
        """The tags of each row as one text."""
        held = given >= self.cuts
        return [
            SEPARATOR.join(name for name, has in zip(self.names, row, strict=True) if has)
            for row in held.tolist()
        ]

    def features(self, given: np.ndarray) -> dict[str, tuple[np.ndarray, Edges]]:
        return {
            f"score of {name}": (given[:, place], "shares") for place, name in enumerate(self.names)
        }

    def called(self, given: np.ndarray) -> np.ndarray:
        result: np.ndarray = (given - self.cuts).argmax(1)
        return result

    def leaning(self, outputs: Tensor, place: int) -> Tensor:
        return outputs[:, place]


def split_tags(text: str) -> list[str]:
    """The tags in a text such as `late; broken`, none of them twice."""
    found = (part.strip() for part in text.split(SEPARATOR))
    return list(dict.fromkeys(part for part in found if part))


def _threshold(truth: np.ndarray, given: np.ndarray) -> float:
    """The probability from which on the F1 of a tag is highest, half way between two rows."""
    held = int(truth.sum())
    if min(held, len(truth) - held) < _LEAST:
        return 0.5
    order = np.argsort(-given, kind="stable")
    right = truth[order].cumsum()
    f1 = 2 * right / (np.arange(1, len(truth) + 1) + held)
    sorted_given = given[order].astype(np.float64)
    last = np.append(sorted_given[1:] < sorted_given[:-1], True)  # of rows that are given the same
    best = int(np.where(last, f1, -1).argmax())
    after = sorted_given[best + 1] if best + 1 < len(order) else 0.0
    found = (sorted_given[best] + after) / 2
    return float(0.5 + (found - 0.5) * held / (held + _SHRINK))
