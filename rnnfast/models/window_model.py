"""What all models of windows of readings share: the scaling, of a window and of the whole training part.

Dimensions: N windows, L steps of look-back, C channels, D targets among them, H steps ahead, Q outputs a step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnfast.models.window_config import WindowConfig
from rnnfast.series.scaling import Scaler


class WindowModel(nn.Module):
    """What all models of windows share: the scaling, of a window and of the whole training part.

    Buffers: ``mean`` and ``scale`` (C,), and of a forecaster ``margins`` (H, D), by which
    calibration moves both ends of the interval outwards, in standard deviations.
    """

    mean: Tensor
    scale: Tensor
    margins: Tensor

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__()
        self.config, self.channels, self.targets = config, channels, list(targets)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        if config.task == "forecast":
            self.register_buffer("margins", torch.zeros(config.horizon, len(targets)))
        self.outputs = 3 if config.quantiles else 1

    def set_scaler(self, scaler: Scaler) -> None:
        """Take over means and deviations, each above zero."""
        self.mean.copy_(torch.from_numpy(scaler.mean))
        self.scale.copy_(torch.from_numpy(scaler.scale))

    def standardised(self, readings: Tensor) -> Tensor:
        """Raw readings (..., C) in standard deviations from the mean."""
        return (readings - self.mean) / self.scale

    def raw(self, forecasts: Tensor) -> Tensor:
        """Forecasts (N, H, D, Q) in the units of the readings."""
        mean, scale = self.mean[self.targets], self.scale[self.targets]
        return forecasts * scale[:, None] + mean[:, None]

    def interval(self, forecasts: Tensor) -> tuple[Tensor, Tensor]:
        """The calibrated ends (N, H, D) of forecasts (N, H, D, Q), in standard deviations."""
        return forecasts[..., self.outputs // 2] - self.margins, forecasts[..., -1] + self.margins

    def anchored(self, readings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised readings (N, L, D) normalised, and what undoes it: offset, factor (N, 1, D)."""
        last = readings[:, -1:]
        if self.config.normalise == "none":
            return readings, torch.zeros_like(last), torch.ones_like(last)
        if self.config.normalise == "mean":
            mean = readings.mean(1, keepdim=True)
            deviation = readings.std(1, keepdim=True, correction=0) + 1e-2
            return (readings - mean) / deviation, mean, deviation
        if self.config.normalise == "last":
            readings = readings - last
        return readings, last, torch.ones_like(last)

    def prepared(self, readings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw windows (N, L, C) standardised, the targets normalised; then offset and factor."""
        readings = self.standardised(readings)
        if self.training and self.config.noise:
            readings = readings + self.config.noise * torch.randn_like(readings)
        own, offset, factor = self.anchored(readings[..., self.targets])
        if self.config.normalise in ("last", "mean"):
            readings = readings.index_copy(
                2, torch.tensor(self.targets, device=readings.device), own
            )
        return readings, offset, factor

    def shaped(self, outputs: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
        """Outputs (N, H * D * Q) of a last layer as forecasts (N, H, D, Q)."""
        outputs = outputs.view(len(outputs), self.config.horizon, len(self.targets), self.outputs)
        return outputs * factor[..., None] + offset[..., None]

    def loss(self, forecasts: Tensor, truth: Tensor, kind: str) -> Tensor:
        """The error of forecasts (N, H, D, Q) of the truth (N, H, D); kinds as in WindowTraining.

        With quantiles the mean pinball loss of both ends is added (Koenker and Bassett, "Regression
        Quantiles", 1978).
        """
        measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "mse": F.mse_loss,
            "mae": F.l1_loss,
            "huber": F.huber_loss,
        }
        result = measures[kind](forecasts[..., 0], truth)
        if self.outputs > 1:
            tail = (1 - self.config.coverage) / 2
            for place, level in ((1, tail), (2, 1 - tail)):
                error = truth - forecasts[..., place]
                result = result + torch.maximum(level * error, (level - 1) * error).mean()
        return result
