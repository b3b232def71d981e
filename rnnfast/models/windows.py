"""Models of windows of readings: forecasters, the classifier, and what they are measured against.

A forecaster maps raw windows (N, L, C) to forecasts (N, H, D, Q) in standard deviations of the
channel: for each of D targets and H steps ahead the expected value, and with ``quantiles`` the lower
and the upper end of the interval behind it. A model that gives labels maps windows (N, L, C) to outputs (N, K), as
``rnnfast.labels`` reads them.
Means and standard deviations of the training part are buffers of the model, so that a saved model
takes readings as they come.

Dimensions: N windows, L steps of look-back, C channels, D targets among them, H steps ahead, Q
outputs a step, S steps of a segment, M segments ahead, W width of the hidden state, K outputs for labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnfast.models.choices import WindowCell
from rnnfast.models.config import RECURRENT
from rnnfast.models.ensembles import WindowEnsemble
from rnnfast.models.texts import recurrent_layers
from rnnfast.models.wide import WideForecaster
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.window_model import WindowModel

LayerState = Any  # what a layer gives beside its output: a tensor, of an LSTM two
Recurrence = Callable[
    [Tensor, LayerState], tuple[Tensor, LayerState]
]  # from input and state to output and state


class RecurrentForecaster(WindowModel):
    """Recurrent layers over the readings; a linear map of the last state gives all steps ahead.

    The recursive form gives one step ahead instead, reads it as if it had been measured, and goes on.
    """

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__(config, channels, targets)
        if config.form == "recursive" and list(targets) != list(range(channels)):
            raise ValueError(
                f"form 'recursive' must forecast all {channels} channels, got: {len(targets)} of them"
            )
        self.rnn = recurrent_layers(config, channels)
        self.dropout = nn.Dropout(config.dropout)
        steps = 1 if config.form == "recursive" else config.horizon
        self.head = nn.Linear(config.hidden_size, steps * len(targets) * self.outputs)
        if config.normalise != "none":
            nn.init.zeros_(self.head.bias)

    def forward(self, readings: Tensor) -> Tensor:
        prepared, offset, factor = self.prepared(readings)
        output, state = self.rnn(prepared)
        return self._ahead(output[:, -1], state, offset, factor)

    def step(
        self, reading: Tensor, state: LayerState | None = None, recurrence: Recurrence | None = None
    ) -> tuple[Tensor, LayerState]:
        """Reads one more reading (N, C) of N devices; the forecasts from there, and the new state.

        The state is all that is kept of a device. Fed a series from its start, this gives what
        ``forward`` gives for the whole series so far. ``recurrence`` is run in the place of the layers.
        """
        require_streams(self.config)
        prepared, offset, factor = self.prepared(reading[:, None])
        output, state = (recurrence or self.rnn)(prepared, state)
        return self._ahead(output[:, -1], state, offset, factor), state

    def _ahead(self, hidden: Tensor, state: LayerState, offset: Tensor, factor: Tensor) -> Tensor:
        if self.config.form != "recursive":
            return self.shaped(self.head(self.dropout(hidden)), offset, factor)
        steps = []
        for _ in range(self.config.horizon):
            reading = self.head(self.dropout(hidden))[:, None] + (
                offset if self.config.normalise == "residual" else 0
            )
            steps.append(reading)
            offset = reading if self.config.normalise == "residual" else offset
            output, state = self.rnn(reading, state)
            hidden = output[:, -1]
        ahead = torch.cat(steps, 1)
        if self.config.normalise in ("last", "mean"):
            ahead = ahead * factor + offset
        return ahead[..., None]


class SegmentForecaster(WindowModel):
    """Segments of readings in, segments out, each channel by itself with the same weights.

    After Lin et al., "SegRNN: Segment Recurrent Neural Network for Long-Term Time Series
    Forecasting" (2023): the last state is the start for every segment ahead, all at once, each read
    with one step whose input says which segment and which channel it is.
    """

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__(config, channels, targets)
        width = config.hidden_size
        self.segments = -(-config.horizon // config.segment)
        self.embedding = nn.Linear(config.segment, width)
        self.rnn = recurrent_layers(config, width)
        self.position = nn.Parameter(torch.randn(self.segments, width // 2))
        self.channel = nn.Parameter(torch.randn(len(targets), width - width // 2))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.segment * self.outputs)

    def forward(self, readings: Tensor) -> Tensor:
        readings, offset, factor = self.prepared(readings)
        readings = readings[..., self.targets].transpose(1, 2)
        n, d, _ = readings.shape
        m, s = self.segments, self.config.segment
        steps = torch.relu(self.embedding(readings.reshape(n * d, -1, s)))
        _, state = self.rnn(steps)
        queries = torch.cat(
            [
                self.position.expand(d, m, -1),
                self.channel[:, None].expand(d, m, -1),
            ],
            dim=2,
        )
        queries = queries.expand(n, d, m, -1).reshape(n * d * m, 1, -1)
        states = state if isinstance(state, tuple) else (state,)
        states = tuple(each.repeat_interleave(m, 1) for each in states)
        ahead, _ = self.rnn(queries, states if isinstance(state, tuple) else states[0])
        outputs = self.head(self.dropout(ahead)).view(n, d, m * s, self.outputs)
        outputs = outputs[:, :, : self.config.horizon].transpose(1, 2)
        result: Tensor = outputs * factor[..., None] + offset[..., None]
        return result


class RecurrentWindowClassifier(WindowModel):
    """Segments of readings, embedded where longer than one -> recurrent layers -> pooling -> linear."""

    def __init__(self, config: WindowConfig, channels: int, labels: int) -> None:
        super().__init__(config, channels, ())
        width = config.hidden_size
        self.embedding = nn.Linear(config.segment * channels, width) if config.segment > 1 else None
        self.rnn = recurrent_layers(config, width if self.embedding else channels)
        self.dropout = nn.Dropout(config.dropout)
        directions = 2 if config.bidirectional else 1
        self.head = nn.Linear(width * directions * len(config.pooling.split("+")), labels)

    def forward(self, readings: Tensor) -> Tensor:
        steps = _noisy(self, readings)
        if self.embedding:
            n, length, _ = steps.shape
            steps = torch.relu(self.embedding(steps.reshape(n, length // self.config.segment, -1)))
        output, state = self.rnn(steps)
        h_n = state[0] if self.config.cell == "lstm" else state
        directions = 2 if self.config.bidirectional else 1
        pools: dict[str, Callable[[], Tensor]] = {
            "last": lambda: torch.cat(h_n[-directions:].unbind(), dim=1),
            "mean": lambda: output.mean(1),
            "max": lambda: output.max(1).values,
        }
        features = torch.cat([pools[name]() for name in self.config.pooling.split("+")], dim=1)
        result: Tensor = self.head(self.dropout(features))
        return result

    def step(
        self, reading: Tensor, state: LayerState | None = None, recurrence: Recurrence | None = None
    ) -> tuple[Tensor, LayerState]:
        """Logits after one more reading (N, C), and the new state; see RecurrentForecaster.step."""
        require_streams(self.config)
        output, state = (recurrence or self.rnn)(self.standardised(reading)[:, None], state)
        return self.head(self.dropout(output[:, -1])), state


def require_streams(config: WindowConfig) -> None:
    """Raises ValueError unless a hidden state can be kept from reading to reading."""
    if not config.streams:
        raise ValueError(
            "a state can be kept by a one-way recurrent model, no ensemble, with segment 1 only, to forecast with "
            "form 'direct' or 'recursive' and normalise 'none' or 'residual', to classify with "
            f"pooling 'last'; got: {config}"
        )


def _noisy(model: WindowModel, readings: Tensor) -> Tensor:
    """Raw windows standardised; in training turned and disturbed a little, as a sensor might sit."""
    if model.training and model.config.rotation:
        readings = _turned(readings, model.config.rotation)
    readings = model.standardised(readings)
    if model.training and model.config.noise:
        readings = readings + model.config.noise * torch.randn_like(readings)
    return readings


def _turned(readings: Tensor, deviation: float) -> Tensor:
    """Every three channels, the axes of one sensor, turned alike by a random angle a window."""
    x, y, z = (deviation * torch.randn(len(readings), 3, device=readings.device)).unbind(1)
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    turn = torch.linalg.matrix_exp(generator)
    triples = readings.shape[2] // 3
    axes = readings[..., : 3 * triples].unflatten(2, (triples, 3))
    turned = torch.einsum("nlta,nba->nltb", axes, turn).flatten(2)
    return torch.cat([turned, readings[..., 3 * triples :]], 2)


class _Features(WindowModel):
    """A network without recurrence over a window, to forecast or to classify."""

    def __init__(
        self, config: WindowConfig, channels: int, targets: tuple[int, ...], labels: int = 0
    ) -> None:
        super().__init__(config, channels, targets)
        self.network = self.build(labels or config.horizon * len(targets) * self.outputs)

    def build(self, outputs: int) -> nn.Sequential:
        """The network, from (N, L, C) to (N, outputs)."""
        raise NotImplementedError

    def forward(self, readings: Tensor) -> Tensor:
        if self.config.gives_labels:
            result: Tensor = self.network(_noisy(self, readings))
            return result
        prepared, offset, factor = self.prepared(readings)
        return self.shaped(self.network(prepared), offset, factor)


class WindowMLP(_Features):
    """All readings of a window, one after the other, into one hidden layer."""

    def build(self, outputs: int) -> nn.Sequential:
        """The network, from (N, L, C) to (N, outputs)."""
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.config.lookback * self.channels, self.config.hidden_size),
            nn.ReLU(),
            nn.Dropout(self.config.dropout),
            nn.Linear(self.config.hidden_size, outputs),
        )


class WindowCNN(_Features):
    """One layer of filters over a few readings, the same at every step, and the maximum of each."""

    def build(self, outputs: int) -> nn.Sequential:
        """The network, from (N, L, C) to (N, outputs)."""
        width, kernel = self.config.hidden_size, self.config.kernel
        return nn.Sequential(
            _Transpose(),
            nn.Conv1d(self.channels, width, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.AdaptiveMaxPool1d(1),
            nn.Flatten(),
            nn.Dropout(self.config.dropout),
            nn.Linear(width, outputs),
        )


class _Transpose(nn.Module):
    def forward(self, readings: Tensor) -> Tensor:
        return readings.transpose(1, 2)


class WindowStatistics(WindowModel):
    """A linear model of what each channel of a window is like: seven figures (N, 7 * C), standardised.

    These are the mean, the standard deviation, the least, the largest and the last reading, the mean step from one
    reading to the next, and that without its sign. ``rnnfast.training.loop.fit`` solves for ``weight`` (F, K) and
    ``bias`` (K,).
    """

    weight: Tensor
    bias: Tensor
    usual: Tensor
    spread: Tensor

    def __init__(self, config: WindowConfig, channels: int, labels: int) -> None:
        super().__init__(config, channels, ())
        size = 7 * channels
        self.register_buffer("weight", torch.zeros(size, labels))
        self.register_buffer("bias", torch.zeros(labels))
        self.register_buffer("usual", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))

    def statistics(self, readings: Tensor) -> Tensor:
        """The figures (N, F) of raw windows (N, L, C)."""
        values = self.standardised(readings)
        steps = values.diff(dim=1)
        figures = (
            values.mean(1),
            values.std(1, correction=0),
            values.amin(1),
            values.amax(1),
            values[:, -1],
            steps.mean(1),
            steps.abs().mean(1),
        )
        return torch.cat(figures, 1)

    def forward(self, readings: Tensor) -> Tensor:
        features = (self.statistics(readings) - self.usual) / self.spread
        result: Tensor = features @ self.weight + self.bias
        return result


class LinearAutoregression(WindowModel):
    """Each step ahead of a channel as a linear function of its last L readings.

    ``rnnfast.training.loop.fit`` solves for the weights (D, L, H) and the bias (D, H) at once.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__(config, channels, targets)
        self.register_buffer("weight", torch.zeros(len(targets), config.lookback, config.horizon))
        self.register_buffer("bias", torch.zeros(len(targets), config.horizon))
        self.outputs = 1

    def forward(self, readings: Tensor) -> Tensor:
        past, offset, factor = self.anchored(self.standardised(readings)[..., self.targets])
        ahead = torch.einsum("nld,dlh->nhd", past, self.weight) + self.bias.T
        return (ahead * factor + offset)[..., None]


class DLinear(WindowModel):
    """A moving average and the rest, each through one linear map that all channels share.

    Zeng et al., "Are Transformers Effective for Time Series Forecasting?" (2023).
    """

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__(config, channels, targets)
        outputs = config.horizon * self.outputs
        self.trend = nn.Linear(config.lookback, outputs)
        self.rest = nn.Linear(config.lookback, outputs)
        for layer in (self.trend, self.rest):
            nn.init.constant_(layer.weight, 1 / config.lookback)

    def forward(self, readings: Tensor) -> Tensor:
        prepared, offset, factor = self.prepared(readings)
        past = prepared[..., self.targets].transpose(1, 2)
        half = self.config.kernel // 2
        padded = F.pad(past, (half, half), mode="replicate")
        trend = F.avg_pool1d(padded, self.config.kernel, stride=1)
        ahead = self.trend(trend) + self.rest(past - trend)
        ahead = ahead.view(*past.shape[:2], self.config.horizon, self.outputs).transpose(1, 2)
        result: Tensor = ahead * factor[..., None] + offset[..., None]
        return result


class NLinear(WindowModel):
    """One linear map of the readings less the last one, which all channels share.

    Zeng et al., "Are Transformers Effective for Time Series Forecasting?" (2023).
    """

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__(config, channels, targets)
        self.linear = nn.Linear(config.lookback, config.horizon * self.outputs)
        nn.init.constant_(self.linear.weight, 1 / config.lookback)

    def forward(self, readings: Tensor) -> Tensor:
        past = self.standardised(readings)[..., self.targets].transpose(1, 2)
        last = past[..., -1:]
        ahead: Tensor = self.linear(past - last) + last
        ahead = ahead.view(*past.shape[:2], self.config.horizon, self.outputs)
        return ahead.transpose(1, 2)


class Persistence(WindowModel):
    """What was will be: the last reading, or of the cell ``seasonal`` those of the last season."""

    def __init__(self, config: WindowConfig, channels: int, targets: tuple[int, ...]) -> None:
        super().__init__(config, channels, targets)
        self.outputs = 1

    def forward(self, readings: Tensor) -> Tensor:
        own = self.standardised(readings)[..., self.targets]
        period = self.config.period if self.config.cell == "seasonal" else 1
        places = torch.arange(self.config.horizon) % period - period
        return own[:, places][..., None]


def build_window_model(
    config: WindowConfig,
    channels: int,
    targets: tuple[int, ...] = (),
    labels: int = 0,
    seed: int = 0,
) -> WindowModel:
    """The untrained model.

    Args:
        config: what to build.
        channels: of the windows, C.
        targets: of a forecaster, the places of the D channels that it foretells.
        labels: outputs for labels, K.
        seed: the same seed gives the same initial weights; torch's random state is left as it was.

    Raises ValueError for targets that are not channels, or without an output.
    """
    forecast = config.task == "forecast"
    if forecast and (not targets or not set(targets) <= set(range(channels))):
        raise ValueError(f"targets must be among the {channels} channels, got: {list(targets)}")
    least = 2 if config.task == "classify" else 1
    if not forecast and labels < least:
        raise ValueError(f"labels must be at least {least}, got: {labels}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        members = [_network(config, channels, targets, labels) for _ in range(config.members)]
    if config.members == 1:
        return members[0]
    return WindowEnsemble(config, channels, targets, members)


def _network(
    config: WindowConfig, channels: int, targets: tuple[int, ...], labels: int
) -> WindowModel:
    """One of the members."""
    forecast = config.task == "forecast"
    if config.cell in RECURRENT:
        if not forecast:
            return RecurrentWindowClassifier(config, channels, labels)
        form = SegmentForecaster if config.form == "segments" else RecurrentForecaster
        model = form(config, channels, targets)
        return WideForecaster(config, channels, targets, model) if config.wide else model
    if config.cell in ("mlp", "cnn"):
        network = WindowMLP if config.cell == "mlp" else WindowCNN
        if forecast:
            return network(config, channels, targets)
        return network(config, channels, (), labels)
    if not forecast:
        return WindowStatistics(config, channels, labels)
    return _FORECASTERS[config.cell](config, channels, targets)


_FORECASTERS: dict[str, type[WindowModel]] = {
    "linear": LinearAutoregression,
    "nlinear": NLinear,
    "dlinear": DLinear,
    "persistence": Persistence,
    "seasonal": Persistence,
}


def beside(config: WindowConfig, trained: bool = False) -> list[WindowConfig]:
    """What a model is measured against, on the same windows.

    Forecasters always stand beside persistence, linear autoregression on the same lags, NLinear and DLinear, and,
    where the look-back holds a season, beside the last season; what gives labels beside a linear model of what the
    channels are like. ``trained`` adds the networks without recurrence.
    """
    cells: list[WindowCell] = ["linear"]
    if config.task == "forecast":
        cells = ["persistence", "linear", "nlinear", "dlinear"]
        if 1 < config.period <= config.lookback:
            cells.append("seasonal")
    if trained:
        cells += ["mlp", "cnn"]
    same = config.model_dump(
        include={"task", "lookback", "horizon", "period", "coverage", "hidden_size", "dropout"}
    )
    return [WindowConfig(**same | {"cell": cell}) for cell in cells if cell != config.cell]
