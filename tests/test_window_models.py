from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rnnfast.evaluation.intervals import conformal_margins
from rnnfast.evaluation.metrics import ForecastErrors
from rnnfast.labels.metrics import label_metrics
from rnnfast.models.presets import WINDOW_PRESETS
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.windows import LinearAutoregression, beside, build_window_model
from rnnfast.scoring.scorers import SensorScorer, load_scorer, save_sensors_run
from rnnfast.scoring.streams import Stream
from rnnfast.series.scaling import Scaler
from rnnfast.series.windows import Windows
from rnnfast.training.loop import fit
from rnnfast.training.prediction import forecasts
from rnnfast.training.rows import Futures, LabelledWindows
from rnnfast.training.run_folder import RunFolderError, SeriesInfo
from rnnfast.training.settings import WindowTraining

FORECASTERS = [
    {"cell": cell, "form": form, "segment": 4 if form == "segments" else 1}
    for cell in ("rnn", "gru", "lstm")
    for form in ("segments", "direct")
] + [{"cell": cell} for cell in ("linear", "dlinear", "mlp", "cnn", "persistence", "seasonal")]
SHAPE = {"lookback": 12, "horizon": 6, "hidden_size": 8, "period": 4, "kernel": 3}


def series(rows: int = 60, channels: int = 3) -> torch.Tensor:
    steps = torch.arange(rows)[:, None] * torch.linspace(0.2, 0.5, channels)
    return 10 + 5 * torch.sin(steps) + 0.1 * torch.randn(rows, channels)


def windows_of(values: torch.Tensor, size: int, step: int = 1) -> Windows:
    return Windows(values, np.array([[0, len(values)]]), size, step)


@pytest.mark.parametrize("fields", FORECASTERS, ids=lambda f: "-".join(map(str, f.values())))
@pytest.mark.parametrize("normalise", ["none", "residual", "last", "mean"])
def test_forecasts_are_of_each_target_and_step(fields: dict[str, object], normalise: str) -> None:
    config = WindowConfig(**SHAPE | fields | {"normalise": normalise})
    model = build_window_model(config, 3, (2, 0)).eval()
    readings = series()[None, :12].repeat(4, 1, 1)
    assert model(readings).shape == (4, 6, 2, 1)
    # With this normalisation a level that is higher by a hundred gives a forecast that is, too.
    if normalise in ("last", "mean") and fields["cell"] != "seasonal":
        higher = model(readings + 100) - 100
        if fields["cell"] in ("linear", "dlinear", "persistence") or "segments" in fields.values():
            assert torch.allclose(higher, model(readings), atol=1e-3)


def test_quantiles_are_two_outputs_more() -> None:
    for fields in FORECASTERS:
        config = WindowConfig(**SHAPE | fields | {"quantiles": True})
        model = build_window_model(config, 3, (0, 1))
        solved = fields["cell"] in ("linear", "persistence", "seasonal")
        output = model(series()[None, :12])
        assert output.shape == (1, 6, 2, 1 if solved else 3)
        low, high = model.interval(output)
        assert low.shape == high.shape == (1, 6, 2)
        loss = model.loss(output, torch.zeros(1, 6, 2), "mae")
        assert loss.isfinite()


def test_persistence_says_what_was() -> None:
    readings = torch.arange(24.0).view(1, 12, 2)
    last = build_window_model(WindowConfig(**SHAPE, cell="persistence"), 2, (0, 1))
    assert (last(readings)[0, :, :, 0] == torch.tensor([22.0, 23.0])).all()
    season = build_window_model(WindowConfig(**SHAPE, cell="seasonal"), 2, (1,))
    assert season(readings)[0, :, 0, 0].tolist() == [17, 19, 21, 23, 17, 19]


def test_the_recursive_form_reads_its_own_forecasts() -> None:
    config = WindowConfig(**SHAPE, form="recursive", normalise="residual")
    model = build_window_model(config, 2, (0, 1)).eval()
    past = series(12, 2)[None]
    ahead = model(past)[..., 0]
    longer = torch.cat([past, ahead[:, :1].detach()], 1)
    assert torch.allclose(model(longer)[0, :5, :, 0], ahead[0, 1:], atol=1e-5)
    with pytest.raises(ValueError, match="must forecast all 3 channels, got: 1"):
        build_window_model(config, 3, (0,))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(
    "fields",
    [
        {"form": "direct"},
        {"form": "direct", "normalise": "residual", "num_layers": 2},
        {"form": "recursive", "normalise": "residual"},
        {"task": "classify"},
    ],
)
def test_a_kept_state_gives_what_the_whole_series_gives(
    cell: str, fields: dict[str, object]
) -> None:
    config = WindowConfig(**SHAPE | fields | {"cell": cell})
    targets = (0, 1, 2) if config.task == "forecast" else ()
    model = build_window_model(config, 3, targets, labels=4).eval()
    readings = series(20)[None].repeat(2, 1, 1) + torch.randn(2, 1, 3)
    state = None
    for step in range(20):
        now, state = model.step(readings[:, step], state)
        assert torch.allclose(now, model(readings[:, : step + 1]), atol=1e-5)


def test_a_state_cannot_be_kept_by_every_model() -> None:
    for fields in ({"form": "segments"}, {"normalise": "last"}, {"cell": "mlp"}):
        assert not WindowConfig(**SHAPE | fields).streams
    model = build_window_model(WindowConfig(**SHAPE, normalise="mean"), 3, (0,))
    with pytest.raises(ValueError, match="normalise 'none' or 'residual'"):
        model.step(torch.zeros(1, 3))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "mlp", "cnn"])
def test_classifiers_tell_a_fast_wave_from_a_slow_one(cell: str) -> None:
    torch.manual_seed(1)
    steps = torch.arange(40)
    rows = [
        torch.sin(steps * (0.3 + 0.9 * (i % 2)) + torch.rand(1) * 6)[:, None] for i in range(64)
    ]
    values = torch.cat(rows)
    runs = np.arange(0, 64 * 40, 40)[:, None] + np.array([0, 40])
    labels = torch.arange(64) % 2
    config = WindowConfig(
        task="classify", cell=cell, lookback=20, hidden_size=16, pooling="mean+max", kernel=5
    )
    model = build_window_model(config, 1, labels=2)
    cut = Windows(values, runs, 20, 10)
    found = LabelledWindows(cut, labels[cut.run_of(torch.arange(len(cut)))])
    training = WindowTraining(epochs=15, batch_size=16, learning_rate=1e-2, averaging=0)
    history = fit(model, found, found, training)
    assert history[-1]["validation_accuracy"] == found.measure(model)["accuracy"] > 0.95
    assert history[0]["readings_per_second"] > 0


def test_turning_a_sensor_keeps_the_length_of_what_it_measures() -> None:
    from rnnfast.models.windows import _turned

    readings = torch.randn(5, 7, 8)
    turned = _turned(readings, 1.0)
    assert not torch.allclose(turned[..., :3], readings[..., :3])
    for axes in (slice(0, 3), slice(3, 6)):
        assert torch.allclose(
            turned[..., axes].norm(dim=2), readings[..., axes].norm(dim=2), atol=1e-5
        )
    assert torch.equal(turned[..., 6:], readings[..., 6:])


def test_autoregression_finds_the_weights_of_a_linear_series() -> None:
    values = torch.zeros(2000, 1)
    values[:2, 0] = torch.tensor([1.0, 0.9])
    for i in range(2, 2000):
        values[i] = 1.6 * values[i - 1] - 0.8 * values[i - 2] + 0.05 * torch.randn(1)
    config = WindowConfig(cell="linear", lookback=2, horizon=1)
    model = build_window_model(config, 1, (0,))
    assert isinstance(model, LinearAutoregression)
    training = WindowTraining(regularization=1e-6)
    history = fit(model, Futures(windows_of(values, 3), model), None, training)
    assert model.weight[0, :, 0].tolist() == pytest.approx([-0.8, 1.6], abs=0.05)
    assert history[0]["loss"] == pytest.approx(0.05**2, rel=0.2)


@pytest.mark.parametrize("form", ["segments", "direct"])
def test_training_lowers_the_error_and_is_the_same_each_time(form: str) -> None:
    values = series(300, 2)
    config = WindowConfig(
        **SHAPE | {"form": form, "segment": 3 if form == "segments" else 1, "normalise": "last"}
    )
    models = [build_window_model(config, 2, (0, 1), seed=3) for _ in range(2)]
    training = WindowTraining(epochs=4, batch_size=16, learning_rate=1e-2, averaging=0)
    histories = []
    for model in models:
        model.set_scaler(Scaler.fit(values.numpy(), np.array([[0, 300]])))
        rows = Futures(windows_of(values, 18), model)
        before = rows.measure(model)["loss"]
        histories.append(fit(model, rows, rows, training))
        assert rows.measure(model)["loss"] < 0.7 * before
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            models[0].state_dict().values(), models[1].state_dict().values(), strict=True
        )
    )
    assert [e["loss"] for e in histories[0]] == [e["loss"] for e in histories[1]]


def test_models_that_know_nothing_are_measured_all_the_same() -> None:
    model = build_window_model(WindowConfig(**SHAPE, cell="persistence"), 3, (0,))
    rows = Futures(windows_of(series(), 18), model)
    [epoch] = fit(model, rows, rows, WindowTraining())
    assert epoch["loss"] == epoch["validation_loss"] > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lookback": 10, "segment": 4}, "lookback must be a multiple of segment, 4, got: 10"),
        ({"kernel": 4}, "kernel must be odd, got: 4"),
        ({"task": "classify", "cell": "nlinear"}, "to classify, got: 'nlinear'"),
        ({"bidirectional": True}, "bidirectional must be false to forecast"),
        ({"cell": "seasonal", "period": 24, "lookback": 12}, "period must be at most lookback"),
        ({"form": "recursive", "quantiles": True}, "quantiles must be false"),
        ({"width": 3}, "width"),
    ],
)
def test_configurations_that_cannot_be(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WindowConfig(**fields)


def test_models_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"targets must be among the 2 channels, got: \[2\]"):
        build_window_model(WindowConfig(**SHAPE), 2, (2,))
    with pytest.raises(ValueError, match="labels must be at least 2, got: 1"):
        build_window_model(WindowConfig(task="classify"), 2, labels=1)
    with pytest.raises(ValueError, match="windows must be at least one, got none"):
        Futures(windows_of(series(), 61), build_window_model(WindowConfig(**SHAPE), 3, (0,)))


@pytest.mark.parametrize("kind", ["mse", "mae"])
def test_validation_measures_what_training_makes_small(kind: str) -> None:
    model = build_window_model(WindowConfig(**SHAPE, cell="persistence"), 3, (0,))
    values = series(40)
    rows = Futures(windows_of(values, 18), model, kind)
    errors = torch.stack([values[i : i + 6, 0] - values[i - 1, 0] for i in range(12, 35)])
    expected = errors.square().mean() if kind == "mse" else errors.abs().mean()
    assert rows.measure(model)["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_what_stands_beside_a_model() -> None:
    config = WindowConfig(**SHAPE)
    always = ["persistence", "linear", "nlinear", "dlinear", "seasonal"]
    assert [c.cell for c in beside(config)] == always
    assert [c.cell for c in beside(config, trained=True)] == [*always, "mlp", "cnn"]
    assert [c.cell for c in beside(WindowConfig(task="classify"))] == ["linear"]
    assert {c.lookback for c in beside(config)} == {12}


def test_presets_are_of_known_fields() -> None:
    for cells in WINDOW_PRESETS.values():
        for cell, parts in cells.items():
            WindowConfig(**{"cell": cell, **parts["model"]})
            WindowTraining(**parts["training"])


def test_errors_add_up_over_batches() -> None:
    rng = np.random.default_rng(0)
    truth, forecast = rng.normal(3, 1, (2, 50, 4, 2))
    last = rng.normal(3, 1, (50, 2))
    errors = ForecastErrors(4, ("a", "b"))
    for part in (slice(0, 20), slice(20, 50)):
        interval = forecast[part] - 1, forecast[part] + 1
        errors.update(truth[part], forecast[part], last[part], interval)
    result = errors.result()
    assert result["rows"] == 50
    assert result["mse"] == pytest.approx(np.mean((truth - forecast) ** 2))
    assert result["mae"] == pytest.approx(np.mean(abs(truth - forecast)))
    assert result["rmse"] == pytest.approx(result["mse"] ** 0.5)
    persistence = np.mean((truth - last[:, None]) ** 2)
    assert result["skill"] == pytest.approx(1 - result["mse"] / persistence)
    assert result["coverage"] == pytest.approx(np.mean(abs(truth - forecast) <= 1))
    assert result["width"] == pytest.approx(2)
    assert result["by_horizon"]["mae"] == pytest.approx(abs(truth - forecast).mean((0, 2)))
    of_b = np.mean((truth - forecast)[..., 1] ** 2)
    assert result["by_channel"]["b"]["mse"] == pytest.approx(of_b)
    assert result["by_channel"]["b"]["r2"] == pytest.approx(1 - of_b / truth[..., 1].var())
    with pytest.raises(ValueError, match="update must be called"):
        ForecastErrors(1, ("a",)).result()


@pytest.mark.parametrize("width", [0.0, 0.5, 5.0])
def test_calibrated_intervals_cover_their_share(width: float) -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(0, [[1, 3]], (2000, 1, 2))
    low, high = np.full_like(truth, -width), np.full_like(truth, width)
    margins = conformal_margins(truth[:1000], low[:1000], high[:1000], 0.8)
    inside = (low[1000:] - margins <= truth[1000:]) & (truth[1000:] <= high[1000:] + margins)
    assert inside.mean((0, 1)) == pytest.approx([0.8, 0.8], abs=0.04)


def test_label_metrics() -> None:
    result = label_metrics(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), 3)
    assert result["accuracy"] == 0.75
    assert result["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert result["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="labels must be from 0 to 1"):
        label_metrics(np.array([2]), np.array([0]), 2)


INFO = SeriesInfo(channels=("a", "b", "c"), targets=("c", "a"), labels=("x", "y"), step=10)


def saved(path: Path, **fields: object) -> Path:
    config = WindowConfig(**SHAPE | fields)
    targets = INFO.target_places if config.task == "forecast" else ()
    model = build_window_model(config, 3, targets, labels=2, seed=4)
    model.set_scaler(Scaler(np.array([10.0, 9, 8]), np.array([2.0, 3, 4])))
    path.mkdir()
    save_sensors_run(path, model.eval(), training=WindowTraining(), series=INFO, data={})
    return path


def test_a_saved_model_scores_as_before(tmp_path: Path) -> None:
    scorer = load_scorer(saved(tmp_path / "run"))
    assert isinstance(scorer, SensorScorer)
    assert scorer.series == INFO
    assert scorer.model.targets == [2, 0]
    again = SensorScorer.load(saved(tmp_path / "again"))
    assert scorer.digest == again.digest
    values = series()
    for (_, a), (_, b) in zip(
        forecasts(scorer.model, windows_of(values, 12)),
        forecasts(again.model, windows_of(values, 12)),
        strict=True,
    ):
        assert torch.equal(a, b)
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunFolderError, match="must hold the weights"):
        load_scorer(tmp_path / "run")


@pytest.mark.parametrize("fields", [{"cell": "lstm"}, {"cell": "gru", "task": "classify"}])
def test_streams_of_devices_go_on_after_a_restart(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    scorer = SensorScorer.load(saved(tmp_path / "run", **fields))
    stream = Stream(scorer)
    readings = {name: series(9).numpy() for name in ("pump", "fan")}
    for step in range(8):
        stream.read({name: rows[step] for name, rows in readings.items()})
    stream.save(tmp_path / "states")
    fresh = Stream(scorer)
    fresh.load(tmp_path / "states")
    result = fresh.read({"fan": readings["fan"][8]})
    with torch.inference_mode():
        whole = scorer.model(torch.from_numpy(readings["fan"])[None])
    expected = scorer.model.raw(whole) if "task" not in fields else whole.softmax(1)
    assert result["fan"] == pytest.approx(expected[0].numpy(), rel=1e-5, abs=1e-5)
    assert set(fresh.states) == {"pump", "fan"}
    with pytest.raises(ValueError, match="readings of 'fan' must be"):
        fresh.read({"fan": np.array([1.0, np.nan, 2])})
    other = saved(tmp_path / "other", **fields | {"hidden_size": 4})
    with pytest.raises(ValueError, match="must hold the states of this model"):
        Stream(SensorScorer.load(other)).load(tmp_path / "states")


def test_a_stream_needs_a_state(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cell must be recurrent to stream, got: 'mlp'"):
        Stream(SensorScorer.load(saved(tmp_path / "run", cell="mlp")))


@pytest.mark.parametrize(
    "fields",
    [
        {"cell": "lstm", "num_layers": 2},
        {"cell": "rnn", "normalise": "residual"},
        {"cell": "gru", "task": "classify"},
        {"cell": "gru", "form": "recursive"},
    ],
)
def test_many_devices_are_read_by_their_slots(tmp_path: Path, fields: dict[str, object]) -> None:
    if "form" in fields:
        config = WindowConfig(**SHAPE | fields)
        model = build_window_model(config, 3, (0, 1, 2), seed=4).eval()
        scorer = SensorScorer(model, INFO, digest="")
    else:
        scorer = SensorScorer.load(saved(tmp_path / "run", **fields))
    stream, devices = Stream(scorer), [f"device {number}" for number in range(9000)]
    slots = stream.slots(devices)
    values = torch.randn(3, len(devices), 3).mul(2).add(9).numpy()
    mixed = np.random.default_rng(0).permutation(len(devices))
    for step in values[:2]:
        stream.read_slots(slots[mixed], step[mixed])
    part = mixed[:100]  # the others have none
    result = stream.read_slots(slots[part], values[2][part].astype(np.float64))
    again = stream.read({devices[place]: values[2][place] for place in mixed[100:103]})
    for place, found in (
        (part[7], result[7]),
        (part[99], result[99]),
        (mixed[101], again[devices[mixed[101]]]),
    ):
        with torch.inference_mode():
            whole = scorer.model(torch.from_numpy(values[:, place])[None])
            expected = whole.softmax(1) if "task" in fields else scorer.model.raw(whole)
        assert found == pytest.approx(expected[0].numpy(), rel=1e-4, abs=1e-4)


def test_what_is_wrong_with_slots_and_readings_changes_no_state(tmp_path: Path) -> None:
    stream = Stream(SensorScorer.load(saved(tmp_path / "run", cell="gru")))
    slots = stream.slots(["a", "b", "a"])
    assert slots.tolist() == [0, 1, 0]
    right = series(2).numpy()
    stream.read_slots(slots[:2], right)
    before = {device: state[0].clone() for device, state in stream.states.items()}
    holed = right.copy()
    holed[1, 2] = np.inf
    for places, readings, words in (
        ([0, 2], right, "between 0 and 1, got: 2"),
        ([-1, 0], right, "between 0 and 1, got: -1"),
        ([1, 1], right, "got twice: 1"),
        ([0, 1], holed, "finite, got in row 1"),
        ([0], right, "one for each slot"),
        ([0, 1], right[:, :2], "one for each slot"),
    ):
        with pytest.raises(ValueError, match=words):
            stream.read_slots(np.array(places), readings)
    assert all(torch.equal(state[0], before[device]) for device, state in stream.states.items())
    assert stream.read({}) == {}
    with torch.no_grad():
        stream.model.rnn.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="must stay"):
        stream.read({"a": right[0]})
