"""Where models compute and in which precision: recurrent layers in bfloat16, all else as before; and devices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnfast.models import precision
from rnnfast.models.config import ModelConfig
from rnnfast.models.folded import FoldedClassifier
from rnnfast.models.precision import CPU, DeviceError, computing, find_device, is_fast
from rnnfast.models.texts import build_model
from rnnfast.models.window_config import WindowConfig
from rnnfast.models.windows import build_window_model
from rnnfast.scoring.scorers import Scorer, SensorScorer, settled_precision
from rnnfast.series.windows import Windows
from rnnfast.training.ahead import BATCHES_AHEAD, ahead
from rnnfast.training.loop import fit
from rnnfast.training.rows import Futures, LabelledWindows, Reviews, Rows
from rnnfast.training.run_folder import SeriesInfo, read_config
from rnnfast.training.settings import TrainingSettings, WindowTraining
from tests.test_scoring import TEXTS, make_run

META = torch.device("meta")
NO_GPU = not torch.cuda.is_available()


def reviews(rows: int = 40, words: int = 20) -> Reviews:
    lengths = torch.randint(2, 12, (rows,))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    ids = torch.randint(2, words, (int(offsets[-1]),), dtype=torch.int32)
    return Reviews(ids, offsets, torch.arange(rows) % 2, 12, "before")


def text_model(**changes: Any) -> nn.Module:
    config = {"embedding_size": 6, "hidden_size": 24, "sequence_length": 12, "padding": "before"}
    return build_model(ModelConfig.model_validate(config | changes), 20)


def window_rows(**changes: Any) -> tuple[Any, Rows]:
    config = WindowConfig.model_validate({"lookback": 8, "hidden_size": 16} | changes)
    windows = Windows(torch.randn(60, 3), np.array([[0, 30], [30, 60]]), 8)
    if config.task == "classify":
        truth = windows.run_of(torch.arange(len(windows)))
        return build_window_model(config, 3, labels=2), LabelledWindows(windows, truth)
    model = build_window_model(config, 3, (0, 1, 2))
    return model, Futures(Windows(windows.values, windows.runs, 8 + config.horizon), model)


def scorer_of(model: Any, series: SeriesInfo, precision: Any) -> SensorScorer:
    return SensorScorer(model.eval(), series, digest="", precision=precision)


EVERY_MODEL = {
    **{
        cell: lambda cell=cell: (text_model(cell=cell), reviews()) for cell in ("rnn", "mlp", "cnn")
    },
    "words": lambda: (
        text_model(cell="lstm", word_weights=True, distinct_words=True, channel_dropout=0.3),
        reviews(),
    ),
    "classifier": lambda: window_rows(task="classify", rotation=0.3, noise=0.1, segment=2),
    "window cnn": lambda: window_rows(task="classify", cell="cnn", kernel=3),
    "direct": lambda: window_rows(horizon=3, normalise="mean", noise=0.1, quantiles=True),
    "recursive": lambda: window_rows(horizon=3, form="recursive", normalise="residual"),
    "segments": lambda: window_rows(horizon=4, form="segments", segment=2, normalise="last"),
    "wide": lambda: window_rows(horizon=3, wide=True),
    "dlinear": lambda: window_rows(cell="dlinear", horizon=3, kernel=3),
}


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_a_model_makes_nothing_on_another_device_than_its_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device "meta" stands for a GPU: torch refuses to mix it with the CPU as well."""
    model, rows = EVERY_MODEL[name]()
    batch = [
        each if place == 1 and isinstance(rows, Reviews) else each.to(META)  # lengths stay
        for place, each in enumerate(rows.taken(torch.arange(6)))
    ]
    # What is put into a batch by an index that is on the CPU, torch copies to a GPU by itself.
    loss = rows.loss(model.to(META).train(), tuple(batch))
    assert loss.device == META
    loss.backward()
    assert all(p.grad is None or p.grad.device == META for p in model.parameters())


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_layers_compute_in_bfloat16_and_all_else_in_float32(cell: str) -> None:
    model, rows = text_model(cell=cell, bidirectional=True, channel_dropout=0.0).eval(), reviews()
    batch = rows.taken(torch.arange(30))
    seen = []
    model.rnn.register_forward_pre_hook(  # type: ignore[union-attr, operator]
        lambda *_: seen.append(torch.is_autocast_enabled("cpu"))
    )
    exact = model(*batch[:2])
    with computing(model, "bf16"):
        model.head.register_forward_pre_hook(  # type: ignore[union-attr, operator]
            lambda layer, given: seen.append((given[0].dtype, torch.is_autocast_enabled("cpu")))
        )
        narrow = model(*batch[:2])
        narrow.sum().backward()
    assert narrow.dtype == torch.float32
    assert (torch.float32, False) in seen
    assert (narrow - exact).abs().max() < 0.05
    assert (narrow - exact).any() or not is_fast(
        "bf16", CPU
    )  # without units for it, float32 is kept
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
    torch.testing.assert_close(model(*batch[:2]), exact, rtol=0, atol=0)


def test_a_layer_that_fails_leaves_nothing_behind() -> None:
    model = text_model(cell="gru")
    with pytest.raises(RuntimeError, match="must have 6 features"), computing(model, "bf16"):
        model.rnn(torch.zeros(2, 3, 7))  # type: ignore[operator]
    assert not torch.is_autocast_enabled("cpu")
    assert not model.rnn._forward_hooks  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "variant", [{"cell": "rnn"}, {"cell": "lstm", "bidirectional": True}], ids=str
)
def test_a_folded_model_in_bfloat16_says_nearly_the_same(variant: dict[str, Any]) -> None:
    model = text_model(**variant, word_weights=True, padding="after").eval()
    ids, lengths = torch.randint(0, 20, (50, 12), dtype=torch.int32), torch.randint(1, 13, (50,))
    exact, narrow = (FoldedClassifier(model, t)(ids, lengths) for t in (None, torch.bfloat16))
    assert narrow.dtype == torch.float32
    assert (narrow - exact).abs().max() < 0.02
    assert (narrow - exact).any() or not is_fast("bf16", CPU)


def test_training_in_bfloat16_comes_to_nearly_the_same_weights() -> None:
    rows, losses = reviews(200), {}
    for name in ("fp32", "bf16"):
        model = text_model(cell="gru", channel_dropout=0.0, word_dropout=0.0, dropout=0.0)
        settings = TrainingSettings.model_validate(
            {"epochs": 3, "batch_size": 20, "precision": name}
        )
        losses[name] = fit(model, rows, rows, settings)[-1]["validation_loss"]
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert losses["fp32"] != losses["bf16"] or not is_fast("bf16", CPU)
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


def test_batches_are_made_ahead_for_a_gpu_and_when_they_are_asked_for_on_the_cpu() -> None:
    for device, most in ((torch.device("cuda"), BATCHES_AHEAD + 1), (CPU, 1)):
        made: list[int] = []

        def make(number: int, made: list[int] = made) -> int:
            made.append(number)
            return number**2

        for done, (number, square) in enumerate(ahead(iter(range(9)), make, device), 1):
            assert (number, square) == (done - 1, (done - 1) ** 2)
            assert done <= len(made) <= done - 1 + most
        assert made == list(range(9))


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_that_says_so() -> None:
    assert find_device("auto") == find_device("cpu") == CPU
    with pytest.raises(
        DeviceError, match="device must be auto or cpu, got: cuda; this machine has no"
    ):
        find_device("cuda")


def test_a_run_scores_in_what_its_folder_says_where_that_is_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    exact = Scorer.load(run)
    assert exact.precision == "fp32"
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"scoring": "bf16"}))
    for target, expected in (("amx", "bf16"), ("avx2", "fp32")):
        monkeypatch.setattr(precision.ops, "cpu_target", lambda target=target: target)
        scorer = Scorer.load(run)
        assert scorer.precision == expected
        assert scorer.digest == exact.digest
        differs = not np.array_equal(scorer.score(TEXTS), exact.score(TEXTS))
        assert differs == (expected == "bf16")
        np.testing.assert_allclose(scorer.score(TEXTS), exact.score(TEXTS), atol=5e-3)
    assert settled_precision(read_config(run), "auto", torch.device("cuda")) == "bf16"
    with pytest.raises(DeviceError, match=r"precision must be fp32 or bf16 on cuda, got: int8"):
        settled_precision(read_config(run), "int8", torch.device("cuda"))


def test_forecasts_in_bfloat16_are_nearly_those_in_float32() -> None:
    model, rows = window_rows(horizon=3)
    series = SeriesInfo(channels=("a", "b", "c"), targets=("a", "b", "c"), step=1)
    assert isinstance(rows, Futures)
    exact, narrow = (
        torch.cat([output for _, output in scorer_of(model, series, p).forecasts(rows.windows)])
        for p in ("fp32", "bf16")
    )
    assert narrow.dtype == torch.float32
    assert (narrow - exact).abs().max() < 0.02
    assert (narrow - exact).any() or not is_fast("bf16", CPU)
    assert WindowTraining().precision == "fp32"


def test_int8_is_a_copy_of_the_model_and_says_nearly_the_same(tmp_path: Path) -> None:
    model, rows = window_rows(horizon=3)
    series = SeriesInfo(channels=("a", "b", "c"), targets=("a", "b", "c"), step=1)
    assert isinstance(rows, Futures)
    exact, coarse = (
        torch.cat([output for _, output in scorer_of(model, series, p).forecasts(rows.windows)])
        for p in ("fp32", "int8")
    )
    assert 0 < (coarse - exact).abs().max() < 0.05
    assert all(p.dtype == torch.float32 for p in model.parameters())
    scores = [
        Scorer.load(make_run(tmp_path / "run"), "int8").score(TEXTS),
        Scorer.load(tmp_path / "run").score(TEXTS),
    ]
    np.testing.assert_allclose(*scores, atol=5e-3)
