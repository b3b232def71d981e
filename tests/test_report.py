"""The report is one whole, escaped, well-formed page that says what the dictionaries hold."""

from __future__ import annotations

import copy
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnfast.labels.metrics import calibration
from rnnfast.reports import plots, wording
from rnnfast.reports import training as report
from rnnfast.reports.training import write_report
from tests.pages import Page, assert_figures_are_told, assert_stands_alone

RUN = json.loads(Path(__file__).with_name("report_run.json").read_text(encoding="utf-8"))
CONFIG: dict[str, Any] = RUN["config"]
METRICS: dict[str, Any] = RUN["metrics"]


def written(
    tmp_path: Path, config: dict[str, Any] = CONFIG, metrics: dict[str, Any] = METRICS
) -> Page:
    path = tmp_path / "report.html"
    write_report(path, config, metrics)
    return Page(path.read_text(encoding="utf-8"))


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(METRICS), **parts}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(tmp_path_factory.mktemp("report"))


def test_figures_of_the_run_are_told_in_words(page: Page) -> None:
    words = page.words()
    for told in (
        "tanh RNN on imdb",
        "88.3% of the test reviews are labelled correctly",
        "That is 22,085 of 25,000",
        "expect 87.9% to 88.7%",
        "would be right for 50.0%",
        "AUC 0.9512",
        "F1 0.8829",
        "2 min 52 s for the whole run",
        "123 test reviews are also in the training data",
        "Without duplicates the test accuracy is 88.29%, with them 88.34%",
        "its accuracy is 90.47%",
        "Of the 12,399 reviews predicted as positive, 88.7% are correct (precision).",
        "differ by 0.0170 on average, the expected calibration error",
        "Score reviews per second 2,104",
        "hidden_size 128",
        "split.by movie",
        "patience none",
        "hold 58.0% of what there is to see",
        "Before the training 3 rules were checked on the data. 1 failed",
        "1 gave a warning.",
        "How far the 25,000 test rows are from the training part",
        "torch 2.13.0",
    ):
        assert told in words


def test_every_figure_has_words_a_caption_and_a_table(page: Page) -> None:
    assert_figures_are_told(page, 7)


def test_the_page_stands_alone(page: Page) -> None:
    assert_stands_alone(page)


def test_plots_have_no_colour_of_their_own(page: Page) -> None:
    for svg in re.findall(r"<svg.*?</svg>", page.source, re.DOTALL):
        assert not re.search(r"#[0-9a-f]{6}", svg.replace("href=", ""))
        assert "font-family" not in svg
        assert "<style" not in svg


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as the WCAG define it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    "name", ["ink", "muted", "first", "second", "third", "fourth", "fifth", "sixth"]
)
def test_contrast_is_at_least_aa(page: Page, theme: int, name: str) -> None:
    roots = re.findall(r":root \{(.*?)\}", page.source, re.DOTALL)
    assert len(roots) == 2
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", roots[theme]))
    low, high = sorted(luminance(colours[key]) for key in ("page", name))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_data_without_duplicates_is_said_to_be_so(tmp_path: Path) -> None:
    page = written(tmp_path, metrics=changed(data={"duplicates_in_train_and_test": 0}))
    assert "No test review is also in the training data." in page.words()
    assert "Without duplicates the test accuracy" not in page.words()


def test_texts_are_escaped_and_keep_their_language(page: Page) -> None:
    assert "&lt;script&gt;alert(&#39;not a word of it was bad&#39;)&lt;/script&gt;" in page.source
    assert "<script>alert('not a word of it was bad')</script> & still \"fun\"" in page.text
    assert "فيلم رائع" in page.text
    assert "正直に言うと" in page.text
    assert all(quote == {"dir": "auto", "lang": ""} for quote in page.all("blockquote"))


def test_words_that_moved_a_score_are_marked(page: Page) -> None:
    marks = re.findall(r'<mark class="(\w+)" style="--share: ([\d.]+)">(.*?)</mark>', page.source)
    assert ("up", "1.00", "earns") in marks
    assert ("down", "0.86", "bored") in marks  # the line breaks before it are no words
    assert ("up", "0.50", "Great") in marks
    assert ("down", "1.00", "waste.") in marks
    assert not any(word == "A" for _, _, word in marks)  # without it nothing would be another
    assert "<td>-0.550</td>" in page.source
    assert page.words().count("Effect of each word") == 2


def test_marked_words_are_escaped() -> None:
    example = {"text": "<b>x</b> & <i>", "effects": [2.0, 0.0, -1.0]}
    assert wording.marked(example) == (
        '<mark class="up" style="--share: 1.00">&lt;b&gt;x&lt;/b&gt;</mark> &amp; '
        '<mark class="down" style="--share: 0.50">&lt;i&gt;</mark>'
    )


def test_a_text_whose_words_reading_changes_is_not_marked(tmp_path: Path) -> None:
    example = {"text": "one\x1ctwo three", "label": 1, "score": 0.9, "effects": [1.0, 1.0, 1.0]}
    page = written(tmp_path, metrics=changed(examples={"right": [example], "wrong": []}))
    assert ">onetwo three</blockquote>" in page.source


def test_names_on_the_map_do_not_cover_each_other() -> None:
    words = [{"word": f"word{i}", "x": i / 400, "y": i % 3, "score": i / 200} for i in range(200)]
    svg = plots.map_plot(words, "a map").drawn
    names = re.findall(r'<text[^>]*transform="translate\(([\d.]+) ([\d.]+)\)[^>]*>word', svg)
    names += re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>word', svg)
    places = [(float(x), float(y)) for x, y in names]
    assert 3 < len(places) < 60
    named = [int(number) for number in re.findall(r">word(\d+)</text>", svg)]
    assert len(named) == len(places)
    assert min(named) < 20
    assert max(named) > 180
    for place, other in combinations(places, 2):
        assert abs(place[0] - other[0]) > 20 or abs(place[1] - other[1]) > 7


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    evil = "<img src=x onerror=y>\"'"
    config = {
        "model": {"cell": evil, evil: evil},
        "data": {"dataset": evil},
        "labels": [evil, evil + "$"],
        "versions": {evil: [evil]},
    }
    metrics = changed(
        baseline={evil: METRICS["test"]},
        data={evil: 1},
        seconds={"a": 1.0},
        throughput={evil: evil},
    )
    page = written(tmp_path, config, metrics)
    assert not page.all("img")
    assert evil in page.text


def test_line_breaks_are_kept_and_long_texts_are_cut(tmp_path: Path) -> None:
    long = "word " * 400
    examples = {
        "right": [{"text": "one<br /><BR>two\x00\x1b", "label": "positive", "score": 0.9}],
        "wrong": [{"text": long, "label": 0, "score": 0.9}] * (report.MAX_EXAMPLES + 1),
    }
    page = written(tmp_path, metrics=changed(examples=examples))
    assert ">one\ntwo</blockquote>" in page.source
    assert long[: wording.MAX_EXAMPLE_CHARACTERS].rstrip() + "…</blockquote>" in page.source
    assert page.source.count("…</blockquote>") == report.MAX_EXAMPLES


SIGNS = ["电影", "映画", "영화", "😀👩‍👩‍👧", "قصة", "שלום", "नमस्ते", "ไทย", "𓀀", "\ue000"]


def test_signs_that_no_font_has_are_drawn_without_a_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    words = [{"word": w, "x": i, "y": i % 3, "score": i / 10} for i, w in enumerate(SIGNS)]
    plotted = plots.map_plot(words, "words").drawn
    plotted += plots.drift_plot(dict.fromkeys(SIGNS, 0.1), [0.2], "drift").drawn
    plotted += plots.overlaid_plot("loss", {sign: [1.0, 0.5] for sign in SIGNS}, "runs").drawn
    assert [str(each.message) for each in recwarn] == []
    for sign in SIGNS:  # as text, for the fonts of the browser
        assert plotted.count(sign) >= 2, sign


def test_no_examples_make_no_section(tmp_path: Path) -> None:
    page = written(tmp_path, metrics=changed(examples={"right": [], "wrong": []}))
    assert "#examples" not in page.source


def test_a_single_epoch_is_one_tick(tmp_path: Path) -> None:
    page = written(tmp_path, metrics=changed(history=METRICS["history"][:1]))
    (plot, *_) = re.findall(r"<svg.*?Epoch</text>", page.source, re.DOTALL)
    assert re.findall(r"text-anchor: middle[^>]*>([^<]*)<", plot) == ["1", "Epoch"]


@pytest.mark.parametrize("values", [[0.7, 0.99], [1.0], [0.98, 1.0], [0.0, 0.01], [0.0], [0.5]])
def test_no_share_is_above_all_or_below_nothing(values: list[float]) -> None:
    history = [{"validation_accuracy": value} for value in values]
    for plot in (
        plots.curve_plot(history, "by epoch", {"validation_accuracy": "second"}),
        plots.overlaid_plot("validation_accuracy", {"A": values}, "by epoch"),
    ):
        ticks = [float(tick) for tick in re.findall(r">([-\u2212\d.]+)%<", plot.drawn)]
        assert len(ticks) > 1
        assert 0 <= min(ticks) <= 100 * min(values) + 1e-9
        assert 100 * max(values) - 10 < max(ticks) <= 100


def test_a_total_alone_makes_no_section_of_stages(tmp_path: Path) -> None:
    metrics = {"test": METRICS["test"], "seconds": {"total": 3.0}}
    page = written(tmp_path, metrics=metrics)
    assert "#time" not in page.source
    assert "3.00 s for the whole run" in page.words()


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1.html", tmp_path / "2.html"
    write_report(first, CONFIG, METRICS)
    write_report(second, json.loads(json.dumps(CONFIG)), json.loads(json.dumps(METRICS)))
    assert first.read_bytes() == second.read_bytes()


def test_input_is_left_as_it_was(tmp_path: Path) -> None:
    config, metrics = copy.deepcopy(CONFIG), copy.deepcopy(METRICS)
    write_report(tmp_path / "report.html", config, metrics)
    assert (config, metrics) == (CONFIG, METRICS)


def test_a_usual_page_is_small(page: Page) -> None:
    assert len(page.source.encode()) < 150_000


def test_a_long_run_with_long_reviews_stays_small(tmp_path: Path) -> None:
    example = {"text": "審" * 20_000, "label": 1, "score": 0.5}
    metrics = changed(
        history=METRICS["history"] * 40, examples={"right": [example] * 50, "wrong": [example] * 50}
    )
    assert len(written(tmp_path, metrics=metrics).source.encode()) < 500_000


@pytest.mark.parametrize("part", [key for key in METRICS if key != "test"])
def test_any_part_may_be_absent(tmp_path: Path, part: str) -> None:
    metrics = {key: value for key, value in METRICS.items() if key != part}
    page = written(tmp_path, metrics=metrics)
    anchors = {"history": "training", "examples": "examples"}
    if part in anchors:
        assert f'id="{anchors[part]}"' not in page.source
        assert f'href="#{anchors[part]}"' not in page.source
    assert "88.3%" in page.text


def test_test_figures_alone_make_a_page(tmp_path: Path) -> None:
    page = written(tmp_path, {}, {"test": {"accuracy": 0.5, "rows": 10}})
    assert "50.0% of the test reviews" in page.words()
    assert not page.all("svg")
    assert "nan" not in page.text.lower()


def test_values_that_are_no_numbers_read_na(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    calibration = {
        "bin_edges": [0.0, 0.5, 1.0],
        "mean_score": [None, nan],
        "fraction_positive": [None, nan],
        "count": [0, 0],
        "expected_calibration_error": nan,
    }
    metrics = {
        "test": {
            **METRICS["test"],
            **{"accuracy": nan, "auc": None, "f1": inf, "calibration": calibration},
            "confusion_matrix": [[0, 0], [0, 0]],
        },
        "history": [{"loss": nan, "validation_loss": inf, "validation_accuracy": None}],
        "seconds": {"train": nan, "total": inf},
        "examples": {"right": [{"text": "", "label": 1, "score": nan}], "wrong": []},
    }
    page = written(tmp_path, metrics=metrics)
    words = page.words()
    for told in ("n/a of the test reviews", "AUC n/a", "F1 n/a", "n/a for the whole run"):
        assert told in words
    assert not re.search(r"\b(nan|inf|None)\b", page.source)


def test_without_test_figures_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metrics must hold .* 'test', got: history, seconds"):
        write_report(tmp_path / "report.html", CONFIG, {"history": [], "seconds": {}})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_page_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, CONFIG, METRICS)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("share", "rows", "expected"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I
        (81 / 263, 263, (0.2553, 0.3662)),
        (15 / 148, 148, (0.0624, 0.1605)),
        (0 / 20, 20, (0.0, 0.1611)),
        (1 / 29, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_the_published_intervals(
    share: float, rows: int, expected: tuple[float, float]
) -> None:
    assert wording.wilson(share, rows) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.418, "0.42 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (192, "3 min 12 s"),
        (3599.6, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (float("nan"), "n/a"),
        (None, "n/a"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float | None, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (20_000, "20,000"),
        (248_113.7, "248,114"),
        (0.00012345, "0.0001234"),
        (True, "yes"),
        ((1, 0.5), "1, 0.5"),
        ([], "none"),
        ("mean+max", "mean+max"),
        (None, "n/a"),
        (float("-inf"), "n/a"),
    ],
)
def test_numbers_read_as_in_a_table(value: object, words: str) -> None:
    assert wording.number(value) == words


FORECAST_CONFIG = {
    "model": {"cell": "gru", "task": "forecast", "coverage": 0.9},
    "data": {"dataset": "<b>pump</b>"},
    "series": {"channels": ["flow & heat"], "standardised": False, "labels": []},
}


def forecast_metrics(**parts: Any) -> dict[str, Any]:
    figures = {"mse": 0.5, "mae": 0.4, "rmse": 0.7071, "r2": 0.9, "skill": 0.25}
    steps = {"mse": [0.4, 0.6], "mae": [0.3, 0.5], "skill": [0.2, None]}
    window = {"channel": "flow & heat", "time": "2024-01-01T00:00:00", "past": [1.0, 2.0, None],
              "truth": [3.0, 4.0], "forecast": [3.1, 4.2], "low": [2.0, 3.0], "high": [4.0, 5.0]}  # fmt: skip
    test = {"rows": 77, **figures, "coverage": 0.913, "by_horizon": steps,
            "by_channel": {"flow & heat": figures, "other": figures}}  # fmt: skip
    beside = {"linear": {**figures, "mse": 0.55, "by_horizon": steps}}
    return {"test": test, "baseline": beside, "windows": [window, {**window, "low": None}]} | parts


def test_a_forecast_has_its_errors_and_its_windows(tmp_path: Path) -> None:
    page = written(tmp_path, FORECAST_CONFIG, forecast_metrics())
    words = page.words()
    assert "0.5000 is the mean squared error on the test windows" in words
    assert "the squared error is 25.0% lower" in words
    assert "91.3% of the true values lie in it; the target is 90%" in words
    assert "Linear autoregression on test" in words
    assert "flow & heat" in words
    assert "<b>pump" not in page.source
    assert "review" not in words
    assert len(page.all("svg")) == 1 + 2  # the error by step, and two windows
    ids = [attributes["id"] for _, attributes, _ in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_a_forecast_without_anything_beside_it(tmp_path: Path) -> None:
    bare = forecast_metrics(baseline=None, windows=[])
    assert "the worst" not in written(tmp_path, FORECAST_CONFIG, bare).words()


def test_windows_that_are_labelled(tmp_path: Path) -> None:
    config = {"model": {"cell": "gru", "task": "classify"}, "series": {"labels": ["a", "b", "c"]}}
    test = {"rows": 6, "accuracy": 0.5, "macro_f1": 0.4321,
            "confusion_matrix": [[1, 1, 0], [0, 2, 0], [1, 1, 0]]}  # fmt: skip
    test["calibration"] = calibration(np.array([1, 1, 1, 0, 0, 0]), np.array([0.9] * 6))
    words = written(tmp_path, config, {"test": test}).words()
    assert "50.0% of the test windows are labelled correctly" in words
    assert "predicted c" in words
    assert "Share labelled correctly by score" in words
    assert "differ by 0.4000 on average" in words
    assert "0.4321" in words
    assert "review" not in words
