import json
import math

import numpy as np
import pytest

from rnnfast.labels.metrics import binary_metrics


def test_worked_example() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.4, 0.8, 0.35, 0.9], np.float32)
    result = binary_metrics(labels, scores)
    assert result["rows"] == 5
    assert result["accuracy"] == pytest.approx(3 / 5)
    assert result["confusion_matrix"] == [[2, 1], [1, 1]]
    assert result["f1"] == pytest.approx(2 / 4)
    # Of the six pairs of a 1 and a 0, four are in order.
    assert result["auc"] == pytest.approx(4 / 6)
    right = [0.9, 0.6, 0.2, 0.35, 0.9]
    assert result["log_loss"] == pytest.approx(-np.log(right).mean(), abs=1e-6)
    assert result["brier"] == pytest.approx(np.square(1 - np.array(right)).mean(), abs=1e-6)


def test_calibration() -> None:
    labels = np.array([0, 1, 1, 1, 1, 0])
    scores = np.array([0.0, 0.05, 0.55, 0.5, 1.0, 1.0])
    calibration = binary_metrics(labels, scores)["calibration"]
    assert calibration["bin_edges"] == pytest.approx(np.linspace(0, 1, 11))
    assert calibration["count"] == [2, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert calibration["mean_score"][0] == pytest.approx(0.025)
    assert calibration["mean_score"][1] is None
    assert calibration["fraction_positive"][5] == 1.0
    assert calibration["fraction_positive"][9] == 0.5
    expected = (2 * 0.475 + 2 * 0.475 + 2 * 0.5) / 6
    assert calibration["expected_calibration_error"] == pytest.approx(expected)


def test_threshold() -> None:
    labels, scores = np.array([0, 1]), np.array([0.6, 0.7])
    assert binary_metrics(labels, scores)["accuracy"] == 0.5
    assert binary_metrics(labels, scores, threshold=0.7)["accuracy"] == 1.0


def test_certain_scores_stay_finite_and_are_json() -> None:
    result = binary_metrics(np.array([0, 1, 1]), np.array([1.0, 0.0, 1.0], np.float32))
    assert math.isfinite(result["log_loss"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize(
    ("labels", "scores", "threshold", "message"),
    [
        ([1, 1], [0.5, 0.5], 0.5, "labels must hold both 0 and 1, got: \\[1\\]"),
        ([0, 2], [0.5, 0.5], 0.5, "labels must be 0 or 1, got: 2"),
        ([0, 1], [0.5], 0.5, "must be \\(N,\\) alike, got: \\(2,\\) and \\(1,\\)"),
        ([0, 1], [0.5, 1.5], 0.5, "scores must be from 0 to 1, got: 1.5"),
        ([0, 1], [0.5, float("nan")], 0.5, "scores must be from 0 to 1, got: nan"),
        ([0, 1], [0.5, 0.5], 2.0, "threshold must be from 0 to 1, got: 2.0"),
        ([], [], 0.5, "labels must hold both 0 and 1, got: \\[\\]"),
    ],
)
def test_bad_input(labels: list, scores: list, threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        binary_metrics(np.array(labels), np.array(scores), threshold)
