"""A recurrent forecaster beside a linear one that is solved at once: their mix, in the share that validation gives it.

Dimensions: N windows, L steps of look-back, C channels, D targets, H steps ahead, Q outputs a step, P steps of all
channels that each target reads, G sets of weights, F features: L lags, a constant, C * P readings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnfast.models.window_config import WindowConfig
from rnnfast.models.window_model import WindowModel
from rnnfast.series.scaling import Scaler

LAST = 12  # steps of all channels that each target reads
_READINGS = 240  # of all channels, at most
SIZE = (
    1 << 24
)  # numbers in the products of all features, at most; beyond, targets share their weights


class LinearPart(nn.Module):
    """Steps ahead of each target as a linear function of its last L readings and of the last P of all channels.

    Its own readings are less the last one, all others less their mean over the look-back, so that a series whose level
    has moved is forecast from where it is.
    ``rnnfast.training.wide.solve_wide`` sets the weights (G, F, H): one set a target, or one for all where there are
    many targets.
    """

    weight: Tensor

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__()
        self.targets, self.lookback = list(targets), config.lookback
        self.last = min(LAST, _READINGS // channels, config.lookback) if channels > 1 else 0
        own = config.lookback + 1
        size = own + channels * self.last
        if len(targets) * size * max(size, config.horizon) > SIZE:
            self.last, size, self.groups = 0, own, 1
        else:
            self.groups = len(targets)
        self.register_buffer("weight", torch.zeros(self.groups, size, config.horizon))

    def features(self, readings: Tensor) -> tuple[Tensor, Tensor]:
        """Of standardised readings (N, L, C) the features (D, N, F), and the last reading of each target (D, N, 1)."""
        own = readings[..., self.targets].permute(2, 0, 1)
        last = own[..., -1:]
        parts = [own - last, torch.ones_like(last)]
        if self.last:
            shared = (readings[:, -self.last :] - readings.mean(1, keepdim=True)).flatten(1)
            parts.append(shared.expand(len(own), *shared.shape))
        return torch.cat(parts, 2), last

    def forward(self, readings: Tensor) -> Tensor:
        """Standardised readings (N, L, C) to forecasts (N, H, D)."""
        features, last = self.features(readings)
        result: Tensor = (features @ self.weight + last).permute(1, 2, 0)
        return result


class WideForecaster(WindowModel):
    """What a recurrent forecaster says, moved towards a linear part by as much as helps on the validation windows.

    In training it is the recurrent part alone. The ``share`` of that part in the forecast is 1 until
    ``rnnfast.training.wide.solve_wide`` sets it, from 0, the linear part alone, to 1.
    """

    share: Tensor

    def __init__(
        self,
        config: WindowConfig,
        channels: int,
        targets: tuple[int, ...],
        deep: WindowModel,
    ) -> None:
        super().__init__(config, channels, targets)
        self.deep = deep
        self.wide = LinearPart(config, channels, targets)
        self.register_buffer("share", torch.ones(()))

    def set_scaler(self, scaler: Scaler) -> None:
        """Take over means and deviations, each above zero."""
        super().set_scaler(scaler)
        self.deep.set_scaler(scaler)

    def forward(self, readings: Tensor) -> Tensor:
        deep: Tensor = self.deep(readings)
        if self.training or self.share == 1:
            return deep
        # The ends of an interval move as the forecast does.
        towards = self.wide(self.standardised(readings)) - deep[..., 0]
        result: Tensor = deep + (1 - self.share) * towards[..., None]
        return result
