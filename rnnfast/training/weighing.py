"""How much the parts of a model count: weighed on rows that none of them has seen.

Dimensions: N rows, P parts, O outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rnnfast.labels.classes import Classes
from rnnfast.labels.target import Target
from rnnfast.models.precision import device_of, moved
from rnnfast.models.texts import WideAndDeep
from rnnfast.training.prediction import BATCH
from rnnfast.training.rows import Reviews
from rnnfast.training.workers import ALONE, Workers

FOLDS = 5


def weigh(model: WideAndDeep, validation: Reviews, workers: Workers = ALONE) -> None:
    """Set the shares of the parts to those of the least loss on the validation rows, none below 0.

    Each part's outputs are divided by their root mean square before, so that the penalty, which matters where there are
    few rows, draws the parts to equal shares.
    """
    parts = part_outputs(model, validation, workers)
    shares = _shares(parts, validation.labels.numpy(), validation.target)
    model.shares.copy_(torch.from_numpy(shares))


def compared(parts: np.ndarray, truth: np.ndarray, target: Target) -> dict[str, float]:
    """What the deep part adds to the wide one, by cross-validation.

    Args:
        parts: (N, 2, O), outputs of the wide and of the deep part.
        truth: of the rows.
        target: what it is.

    Returns ``wide_loss`` and ``loss`` of both together; of classes ``wide_accuracy`` and ``accuracy``; and ``gain``, by
    how many of its standard errors both together have the lower loss. Of each fifth of the rows they are those of the
    shares that the others give; where there are too few rows for that, of shares that all rows give.
    """
    folds = np.arange(len(truth)) % FOLDS
    if _are_few(truth, target):
        folds[:] = 0
    wide, both = np.empty_like(parts[:, 0]), np.empty_like(parts[:, 0])
    for fold in np.unique(folds):
        inside = folds == fold
        rest = ~inside if folds.any() else inside
        # Both are weighed alike, so that a better calibration is no gain.
        for found, some in ((wide, parts[:, :1]), (both, parts)):
            found[inside] = _apply(_shares(some[rest], truth[rest], target), some[inside])
    losses = [_losses(each, truth, target) for each in (wide, both)]
    gains = losses[0] - losses[1]
    # Where the deep part has no share, the two differ by rounding alone.
    same = np.allclose(wide, both, rtol=1e-3, atol=1e-3)
    error = gains.std() / np.sqrt(len(gains))
    figures = {
        "wide_loss": float(losses[0].mean()),
        "loss": float(losses[1].mean()),
        "gain": 0.0 if same else float(gains.mean() / error),
    }
    if isinstance(target, Classes):
        for name, outputs in (("wide_accuracy", wide), ("accuracy", both)):
            given = target.given(_as_given(outputs))
            figures[name] = float(1 - target.errors(truth, given).mean())
    return figures


def _are_few(truth: np.ndarray, target: Target) -> bool:
    """Whether a fifth of the rows might lack a label, of two, or is hardly any row."""
    if isinstance(target, Classes) and target.is_pair:
        return bool(min(np.bincount(truth, minlength=2)) < 2 * FOLDS)
    return len(truth) < 10 * FOLDS


def part_outputs(model: WideAndDeep, rows: Reviews, workers: Workers = ALONE) -> np.ndarray:
    """The outputs (N, 2, O) of both parts; several workers share the rows."""
    outputs = rows.target.outputs
    result = torch.zeros(len(rows), 2, outputs, dtype=torch.float64)
    order = rows.offsets.diff().argsort(stable=True).split(BATCH)
    model.eval()
    with torch.inference_mode():
        for some in order[workers.rank :: workers.count]:
            ids, lengths = rows.take(some)
            deep = model.deep(moved(ids, device_of(model.deep)), lengths).cpu()
            found = [part.view(len(some), outputs) for part in (model.wide(ids, lengths), deep)]
            result[some] = torch.stack(found, 1).double()
    flat = workers.add_up(*result.flatten().tolist())
    return np.array(flat).reshape(result.shape)


def _shares(parts: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    """Weights of the outputs (N, P, O) of some parts, none below 0, and what is added to each output: (P + O,).

    They are those of the least sum of losses and half of their squares. What is added counts among these where there
    are several outputs, since of some classes there may be few rows.
    """
    from scipy.optimize import minimize  # takes a second

    _, count, outputs = parts.shape
    sizes = np.sqrt((parts**2).mean((0, 2))).clip(min=1e-12)
    if len(truth) and (truth == truth[0]).all():
        return np.array([*[1 / count] * count, *[0.0] * outputs])
    scaled = torch.from_numpy(parts / sizes[:, None])
    known = torch.from_numpy(np.ascontiguousarray(truth))
    penalised = count if outputs == 1 else count + outputs

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        shares = torch.from_numpy(values).requires_grad_()
        weighed = (scaled * shares[:count, None]).sum(1) + shares[count:]
        loss = target.losses(_as_given(weighed), known).sum()
        (loss + shares[:penalised].square().sum() / 2).backward()
        total = loss.detach() + shares.detach()[:penalised].square().sum() / 2
        assert shares.grad is not None
        return float(total), shares.grad.numpy()

    start = np.array([*[1.0] * count, *[0.0] * outputs])
    bounds = [(0.0, None)] * count + [(None, None)] * outputs
    tight = {"ftol": 1e-12, "gtol": 1e-8}
    found: np.ndarray = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=tight
    ).x
    found[:count] /= sizes
    return found


def _as_given(outputs: Any) -> Any:
    """Outputs (N, O) as a model gives them, a tensor: (N,) where there is one."""
    tensor = torch.as_tensor(outputs)
    return tensor[:, 0] if tensor.shape[1] == 1 else tensor


def _losses(outputs: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    known = torch.from_numpy(np.ascontiguousarray(truth))
    result: np.ndarray = target.losses(_as_given(outputs), known).numpy()
    return result


def _apply(shares: np.ndarray, parts: np.ndarray) -> np.ndarray:
    count = parts.shape[1]
    result: np.ndarray = (parts * shares[:count, None]).sum(1) + shares[count:]
    return result
