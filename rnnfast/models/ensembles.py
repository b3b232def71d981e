"""Several models of one configuration, each trained by itself, as one model: the mean of what they give.

After Breiman, "Bagging Predictors" (1996), and Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty
Estimation using Deep Ensembles" (2017): the members differ in their seeds alone, and their errors cancel in part.

Dimensions: M members; the others are those of `rnnfast.models.texts` and `rnnfast.models.windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from rnnfast.models.window_config import WindowConfig
from rnnfast.models.window_model import WindowModel
from rnnfast.series.scaling import Scaler


class TextEnsemble(nn.Module):
    """The mean of the outputs of M classifiers of token ids.

    >>> halves = [nn.Module(), nn.Module()]
    >>> halves[0].forward, halves[1].forward = (lambda ids, lengths: ids), (lambda ids, lengths: 3 * ids)
    >>> TextEnsemble(halves)(torch.ones(2), torch.ones(2))
    tensor([2., 2.])
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([member(ids, lengths) for member in self.members]).mean(0)


class WindowEnsemble(WindowModel):
    """The mean of the outputs of M models of windows: forecasts, ends of intervals, or what says the label.

    The margins of the intervals are its own: those of members would be too wide for their mean.
    """

    def __init__(
        self,
        config: WindowConfig,
        channels: int,
        targets: tuple[int, ...],
        members: Sequence[WindowModel],
    ) -> None:
        super().__init__(config, channels, targets)
        self.members = nn.ModuleList(members)

    def set_scaler(self, scaler: Scaler) -> None:
        """Take over means and deviations, each above zero."""
        super().set_scaler(scaler)
        for member in self.members:
            cast(WindowModel, member).set_scaler(scaler)

    def forward(self, readings: Tensor) -> Tensor:
        return torch.stack([member(readings) for member in self.members]).mean(0)
