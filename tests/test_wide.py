"""The linear part of a forecaster is solved, shrunk and mixed so that it never stands in the way."""

import numpy as np
import pytest
import torch

from rnnfast.evaluation.choice import choose
from rnnfast.models import WindowConfig, build_window_model
from rnnfast.models.wide import WideForecaster
from rnnfast.series import Scaler, Windows
from rnnfast.training.rows import Futures
from rnnfast.training.wide import solve_wide

LOOKBACK, HORIZON = 24, 6


def wide_model(channels: int, targets: tuple[int, ...]) -> WideForecaster:
    config = WindowConfig(
        form="segments", lookback=LOOKBACK, horizon=HORIZON, segment=6, hidden_size=4, wide=True
    )
    model = build_window_model(config, channels, targets)
    assert isinstance(model, WideForecaster)
    return model.eval()


def parts(values: np.ndarray) -> list[Windows]:
    rows, tensor = len(values), torch.from_numpy(values.astype(np.float32))
    runs = [[0, rows // 2], [rows // 2, 3 * rows // 4], [3 * rows // 4, rows]]
    return [Windows(tensor, np.array([run]), LOOKBACK + HORIZON) for run in runs]


def errors(model: WideForecaster, windows: Windows) -> tuple[float, float]:
    """The mean squared error of the model, and of persistence."""
    taken = windows.take(torch.arange(len(windows)))
    truth = model.standardised(taken[:, LOOKBACK:])[..., model.targets]
    last = model.standardised(taken[:, LOOKBACK - 1 : LOOKBACK])[..., model.targets]
    with torch.inference_mode():
        missed = truth - model(taken[:, :LOOKBACK])[..., 0]
    return float(missed.square().mean()), float((truth - last).square().mean())


def solved(values: np.ndarray, targets: tuple[int, ...]) -> tuple[WideForecaster, Windows]:
    model = wide_model(values.shape[1], targets)
    model.set_scaler(Scaler(values.mean(0), values.std(0)))
    train, validation, test = parts(values)
    solve_wide(model, Futures(train, model), Futures(validation, model))
    return model, test


def test_what_repeats_is_forecast_without_a_trained_network() -> None:
    time = np.arange(1200)[:, None]
    values = np.sin(2 * np.pi * time / 12 + np.array([0, 1])) + 0.01 * time
    model, test = solved(values, (0, 1))
    own, persistence = errors(model, test)
    assert own < 0.02 * persistence
    assert float(model.share) < 0.1  # nothing of a network that knows nothing


def test_a_walk_is_left_where_it_is() -> None:
    values = np.random.default_rng(0).normal(0, 1, (1600, 2)).cumsum(0)
    own, persistence = errors(*solved(values, (0, 1)))
    assert own < 1.03 * persistence


def test_another_channel_is_read_where_it_leads() -> None:
    rng = np.random.default_rng(1)
    leader = rng.normal(0, 1, (1600, 1))
    values = np.hstack([leader, np.roll(leader, HORIZON, 0) + rng.normal(0, 0.1, leader.shape)])
    model, test = solved(values, (1,))
    assert errors(model, test)[0] < 0.2 * errors(model, test)[1]
    alone, test = solved(values[:, 1:], (0,))
    assert errors(alone, test)[0] > 0.4 * errors(alone, test)[1]


def test_a_forecast_moves_with_the_level() -> None:
    values = np.random.default_rng(2).normal(0, 1, (900, 3))
    model, test = solved(values, (0, 2))
    window = test.take(torch.tensor([5]))[:, :LOOKBACK]
    with torch.inference_mode():
        moved = model.wide(window + 7) - model.wide(window)
    assert moved.numpy() == pytest.approx(np.full((1, HORIZON, 2), 7.0), abs=1e-4)


def test_the_mix_is_that_of_the_share() -> None:
    model = wide_model(2, (0, 1))
    torch.nn.init.normal_(model.wide.weight)
    window = torch.randn(3, LOOKBACK, 2)
    with torch.inference_mode():
        deep, wide = model.deep(window)[..., 0], model.wide(window)
        assert torch.equal(model(window)[..., 0], deep)  # before it is solved
        model.share.fill_(0.3)
        assert torch.allclose(model(window)[..., 0], 0.3 * deep + 0.7 * wide, atol=1e-5)
    model.train()
    model(window).sum().backward()  # the linear part is not trained by steps
    assert model.deep.head.weight.grad is not None


def test_without_validation_both_have_half() -> None:
    values = np.sin(np.arange(600) / 3)[:, None]
    model = wide_model(1, (0,))
    solve_wide(model, Futures(parts(values)[0], model), None)
    assert float(model.share) == 0.5
    assert model.wide.weight.abs().max() > 0


def test_a_better_model_is_kept_where_that_is_no_chance() -> None:
    rng = np.random.default_rng(3)
    blocks = {"gru": rng.normal(1, 0.01, 8), "linear": rng.normal(0.8, 0.01, 8)}
    assert choose("gru", blocks, replace=True).kept == "linear"
    told = choose("gru", blocks, replace=False)
    assert (told.kept, told.is_sure) == ("gru", True)
    assert "more error than linear" in str(told)
    noisy = {"gru": np.array([1.0, 2, 1, 2]), "linear": np.array([2.0, 1, 2, 0.99])}
    assert choose("gru", noisy, replace=True).kept == "gru"
    assert choose("linear", blocks, replace=True).kept == "linear"
