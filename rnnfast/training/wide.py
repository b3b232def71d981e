"""The linear part of a forecaster, and its share in the forecast: solved for, with penalties that validation chooses.

All that a least squares needs are the sums of products of the features (Gram matrix) with each other and with the
truth, over training and over validation windows. So the windows are read once, and a penalty costs one solution.

Dimensions: N windows, G sets of weights, F features, H steps ahead, D targets; as in `rnnfast.models.wide`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from rnnfast.models.wide import LinearPart, WideForecaster
from rnnfast.series.windows import Windows
from rnnfast.training.prediction import forecasts
from rnnfast.training.rows import Futures

_SHARED = (
    0.01,
    0.1,
    0.3,
    1.0,
    10.0,
    100.0,
)  # penalties of the weights that all targets share, a window
OWN = (0.1, 1.0, 10.0)  # of what a target's weights differ from these
CROSS = (0.03, 0.3)  # of the weights of the other channels
CONSTANT = 1e-9  # of the constant's: above zero where the lags explain it
SHORTER = (1, 2, 4)  # the look-back is also tried as these parts of itself
_BLOCKS = 4  # of the validation windows, by whose difference a gain is told from chance
WORK = 1 << 34  # multiplications that the sums may take; windows are left out evenly beyond
_CHUNK = 1 << 25  # features in memory at a time
_SHARES = 1 << 22  # forecasts that the share of the recurrent part is chosen by


@dataclass(frozen=True)
class _Sums:
    """Sums over windows: gram (G, F, F), moment (G, F, H) and the square of the truth, of `count` forecasts a set."""

    gram: Tensor
    moment: Tensor
    square: Tensor
    count: int

    def plus(self, other: _Sums) -> _Sums:
        """The sums over the windows of both."""
        gram, moment = self.gram + other.gram, self.moment + other.moment
        return _Sums(gram, moment, self.square + other.square, self.count + other.count)

    def pooled(self) -> _Sums:
        """All sets taken for one."""
        gram, moment = self.gram.sum(0, keepdim=True), self.moment.sum(0, keepdim=True)
        return _Sums(gram, moment, self.square, self.count * len(self.gram))

    def error(self, weight: Tensor) -> float:
        """The mean squared error of weights (G, F, H)."""
        explained = 2 * self.moment - self.gram @ weight
        total = self.square - (weight * explained).sum()
        return float(total) / (self.count * len(self.gram) * weight.shape[2])


def solve_wide(model: WideForecaster, train: Futures, validation: Futures | None) -> None:
    """Sets the weights of the linear part, and the share of the recurrent part beside it.

    Ridge regression (Hoerl and Kennard, 1970) towards weights that all targets share, which are themselves shrunk
    towards persistence: few readings give what all series have in common, many give each its own. The penalties, the
    part of the look-back that is read, and whether the other channels are, are those of the least error on the
    validation windows. The share is the one of least squared error there, from 0 to 1. Without validation windows the
    penalties are the middle ones, the other channels are not read, and each part has half of the forecast.

    Args:
        model: its recurrent part trained.
        train: the windows that it was trained on.
        validation: windows of a later time, or of other devices.
    """
    part = model.wide
    sums = _sums(model, train.windows, torch.arange(len(train)))
    if validation is None:
        shared = _solved(sums.pooled(), _own(part), _SHARED[1])
        part.weight.copy_(_solved(sums, _own(part), OWN[len(OWN) // 2], shared))
        model.share.fill_(0.5)
        return
    blocks = torch.arange(len(validation)).chunk(_BLOCKS)
    judges = [_sums(model, validation.windows, block) for block in blocks]
    part.weight.copy_(_best(part, sums, judges))
    model.share.copy_(_best_share(model, validation.windows))


def _best(part: LinearPart, sums: _Sums, judges: list[_Sums]) -> Tensor:
    """The weights (G, F, H) of the least error on blocks of windows.

    The other channels are read where that is better by more than the standard error of the gain over the blocks.
    """
    judge = reduce(_Sums.plus, judges)
    pooled, pooled_judge = sums.pooled(), judge.pooled()
    own, _, shared = min(
        (
            (places, penalty, _solved(pooled, places, penalty))
            for shorter in SHORTER
            if part.lookback // shorter > 1
            for places in [_own(part, part.lookback // shorter)]
            for penalty in _SHARED
        ),
        key=lambda each: pooled_judge.error(each[2]),
    )
    best, best_penalty = shared.expand_as(part.weight), OWN[-1]
    if part.groups > 1:
        tried = [(penalty, _solved(sums, own, penalty, shared)) for penalty in OWN]
        penalty, weight = min(tried, key=lambda each: judge.error(each[1]))
        if judge.error(weight) < judge.error(best):
            best, best_penalty = weight, penalty
    if part.last:
        every = torch.cat([own, torch.arange(part.lookback + 1, part.weight.shape[1])])
        tried = [
            (penalty, _solved(sums, every, best_penalty, shared, (len(own), penalty)))
            for penalty in CROSS
        ]
        _, weight = min(tried, key=lambda each: judge.error(each[1]))
        gains = torch.tensor([block.error(best) - block.error(weight) for block in judges])
        if gains.mean() > gains.std(correction=0) / len(gains) ** 0.5:
            best = weight
    return best


def _own(part: LinearPart, length: int | None = None) -> Tensor:
    """The places of the features that are the last `length` readings of a target, and the constant."""
    return torch.arange(part.lookback - (length or part.lookback), part.lookback + 1)


def _solved(
    sums: _Sums,
    places: Tensor,
    penalty: float,
    towards: Tensor | None = None,
    cross: tuple[int, float] | None = None,
) -> Tensor:
    """The weights, other than 0 at some features only, that make squares and penalty least.

    Args:
        sums: over the training windows.
        places: (K,) the features.
        penalty: of squared distances, a window.
        towards: (1, F, H) weights that the distances are from; None: from 0.
        cross: from which of the places on another penalty holds, and that one.
    """
    gram, moment = sums.gram[:, places][:, :, places], sums.moment[:, places]
    count = sums.count
    weights = torch.full((len(places),), penalty * count, dtype=torch.float64)
    if cross is not None:
        weights[cross[0] :] = cross[1] * count
        weights[cross[0] - 1] = CONSTANT * count
    else:
        weights[-1] = CONSTANT * count
    if towards is not None:
        moment = moment + weights[:, None] * towards[:, places]
    result = torch.zeros(len(gram), *sums.moment.shape[1:], dtype=torch.float64)
    result[:, places] = torch.linalg.solve(gram + torch.diag(weights), moment)
    return result


def _sums(model: WideForecaster, windows: Windows, numbers: Tensor) -> _Sums:
    """The sums over the windows of some numbers, evenly spread among these where there are many."""
    part, lookback = model.wide, model.config.lookback
    groups, size, steps = part.weight.shape
    targets = len(model.targets)
    work = len(numbers) * targets * size * (size + steps)
    numbers = numbers[:: -(-work // WORK)].contiguous()
    gram = torch.zeros(groups, size, size, dtype=torch.float64)
    moment = torch.zeros(groups, size, steps, dtype=torch.float64)
    square, count = torch.zeros((), dtype=torch.float64), 0
    for chunk in numbers.split(max(1, _CHUNK // (targets * size))):
        taken = model.standardised(windows.take(chunk))
        features, last = part.features(taken[:, :lookback])
        truth = taken[:, lookback:, model.targets].permute(2, 0, 1) - last
        if groups == 1:
            features, truth = features.flatten(0, 1)[None], truth.flatten(0, 1)[None]
        gram += features.transpose(1, 2) @ features
        moment += features.transpose(1, 2) @ truth
        square += truth.double().square().sum()
        count += features.shape[1]
    return _Sums(gram, moment, square, count)


def _best_share(model: WideForecaster, windows: Windows) -> Tensor:
    """The share () of the recurrent part with the least squared error on windows, from 0 to 1."""
    readings = len(windows) * model.config.horizon * len(model.targets)
    step = windows.step * -(-readings // _SHARES)
    chosen = Windows(windows.values, windows.runs, windows.size, step)
    model.share.fill_(1)
    along = across = 0.0
    for numbers, output in forecasts(model, chosen):
        taken = model.standardised(chosen.take(numbers))
        wide = model.wide(taken[:, : model.config.lookback])
        towards = output[..., 0] - wide
        missed = taken[:, model.config.lookback :, model.targets] - wide
        along += float((missed * towards).sum())
        across += float(towards.square().sum())
    return torch.tensor(along / across if across else 0.0).clamp(0, 1)
