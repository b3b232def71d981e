"""One run as one self-contained HTML page: what it reached, how, and what it was made with.

`write_report` turns the two dictionaries of a run, `config` and `metrics`, into a page that needs
no script, no network and no other file. Its words and tables stand in `templates/sections`, one
file a section; this module has what those cannot say: how values are written, and the plots. So a
new section is one line in `SECTIONS` and one template of that name.

A plot is drawn by matplotlib in the placeholder colours of `PALETTE`. Inlining it swaps each
placeholder for a CSS variable, so that one SVG serves the light and the dark theme.

Left out on purpose: whatever would have to be computed from the model or the data. The page shows
what the dictionaries hold, and the intervals that follow from that.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeGuard

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

Part = Mapping[str, Any]

SECTIONS: tuple[tuple[str, str, Callable[[Part, Part], object]], ...] = (
    ("result", "Result", lambda _, metrics: "mse" not in metrics["test"]),
    ("forecast", "Result", lambda _, metrics: "mse" in metrics["test"]),
    ("horizon", "Error by step ahead", lambda _, metrics: metrics["test"].get("by_horizon")),
    ("windows", "Forecasts", lambda _, metrics: metrics.get("windows")),
    ("figures", "All figures", lambda _, metrics: "mse" not in metrics["test"]),
    ("training", "Training", lambda config, metrics: metrics.get("history")),
    ("confusion", "Confusion matrix", lambda _, metrics: metrics["test"].get("confusion_matrix")),
    ("calibration", "Calibration", lambda _, metrics: metrics["test"].get("calibration")),
    ("examples", "Examples", lambda _, metrics: any((metrics.get("examples") or {}).values())),
    ("time", "Time", lambda _, metrics: _stages(metrics) or metrics.get("throughput")),
    ("parameters", "Parameters", lambda config, metrics: config),
)
"""Template and anchor of a section, its heading, and what it shows: without that, no section."""

MAX_EXAMPLES = 6
"""Examples shown of each kind, right and wrong."""

MAX_EXAMPLE_CHARACTERS = 600
"""A longer example is cut here and ends in an ellipsis."""

CELLS = {
    "rnn": "RNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "mlp": "MLP",
    "cnn": "CNN",
    "ngrams": "n-grams",
    "dlinear": "DLinear",
    "linear": "Linear autoregression",
    "seasonal": "Last season",
}
"""How a cell is written in headings."""

PALETTE = {
    "ink": "#000001",
    "muted": "#000002",
    "line": "#000003",
    "first": "#000004",
    "second": "#000005",
}
"""CSS variable of the page -> the placeholder colour that stands for it while a plot is drawn."""

PLOT_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": PALETTE["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": PALETTE["muted"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.color": PALETTE["line"],
    "lines.linewidth": 2,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "rnnfast",
    "text.color": PALETTE["ink"],
    "text.parse_math": False,
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "ytick.left": False,
}


def write_report(path: Path, config: Part, metrics: Part) -> None:
    """Write the page of one run to `path`, whole or not at all.

    Args:
        path: the file to write; its folder must exist, a file of that name is replaced.
        config: what the run was made with: `model`, `training`, `data`, `labels`, `versions`.
        metrics: what came out: `test` (needed), `test_without_duplicates`, `validation`,
            `baseline`, `history`, `examples`, `seconds`, `throughput`, `data`.

    A part that is absent is left out; a value that is absent, NaN or infinite reads "n/a". The same
    input gives the same bytes with the same version of matplotlib.

    Raises:
        ValueError: `metrics` has no mapping `test`.
    """
    if not isinstance(metrics.get("test"), Mapping):
        given = ", ".join(map(str, metrics)) or "no key at all"
        raise ValueError(f"metrics must hold the test figures under 'test', got: {given}")
    page = _render(config, metrics).encode("utf-8", errors="replace")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(page)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _render(config: Part, metrics: Part) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=ChainableUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, percent, duration, interval, measured, heading, pairs, excerpt)
    plots = (curve_plot, reliability_plot, score_plot, stage_plot, horizon_plot, window_plot)
    environment.filters.update({call.__name__: call for call in filters + plots})
    environment.globals.update(
        max_examples=MAX_EXAMPLES, max_example_characters=MAX_EXAMPLE_CHARACTERS
    )
    return environment.get_template("report.html.jinja").render(
        title=_title(config),
        config=config,
        metrics=metrics,
        test=metrics["test"],
        labels=[str(label) for label in _labels(config)],
        noun="windows" if "series" in config else "reviews",
        stages=_stages(metrics),
        sections=[(name, words) for name, words, part in SECTIONS if part(config, metrics)],
    )


def _labels(config: Part) -> Sequence[object]:
    return config.get("series", {}).get("labels") or config.get("labels", ("negative", "positive"))


def _title(config: Part) -> str:
    model, data = config.get("model", {}), config.get("data", {})
    cell = heading(model.get("cell", "model"))
    if model.get("cell") == "rnn" and "nonlinearity" in model:
        cell = f"{model['nonlinearity']} {cell}"
    return f"{cell} on {data['dataset']}" if "dataset" in data else cell


# Values as people read them


def number(value: object, decimals: int | None = None) -> str:
    """A value as text: thousands grouped, `decimals` or four significant digits, else "n/a"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return ", ".join(map(number, value)) or "none"
    if not _finite(value):
        return "n/a"
    if isinstance(value, Integral):
        return f"{value:,}"
    if decimals is None:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"
    return f"{value:,.{decimals}f}"


def percent(share: object, digits: int = 1) -> str:
    """A share from 0 to 1 as a percentage, e.g. 0.8834 -> "88.3%"."""
    return f"{100 * share:.{digits}f}%" if _finite(share) else "n/a"


def duration(seconds: object) -> str:
    """Seconds as people say them: "0.42 s", "3 min 12 s", "1 h 02 min"."""
    if not _finite(seconds):
        return "n/a"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def wilson(share: object, rows: object) -> tuple[float, float] | None:
    """The 95 % interval of a share seen in `rows` independent rows (Wilson 1927).

    None without a share or rows. Unlike the normal approximation it stays within 0 and 1, and it
    holds near both ends.
    """
    if not (_finite(share) and _finite(rows) and rows > 0):
        return None
    z = 1.959964  # the 97.5 % point of the standard normal distribution
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / (1 + z * z / rows)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(part: Part) -> str:
    """The 95 % interval of a part's `accuracy` over its `rows`, e.g. "87.9% to 88.7%"."""
    bounds = wilson(part.get("accuracy"), part.get("rows"))
    return " to ".join(map(percent, bounds)) if bounds else "n/a"


def measured(metrics: Part) -> dict[str, Part]:
    """The parts of the metrics that can stand side by side, under the names that a reader knows."""
    baselines = metrics.get("baseline") or {}
    parts = {
        "Test": metrics["test"],
        "Test without duplicates": metrics.get("test_without_duplicates"),
        **{f"{heading(key)} on test": part for key, part in baselines.items()},
        "Validation": metrics.get("validation"),
    }
    return {name: part for name, part in parts.items() if part}


def heading(key: str) -> str:
    """A key of a dictionary as words: "validation_loss" -> "Validation loss"."""
    words = CELLS.get(key, str(key)).replace("_", " ")
    return words if key in CELLS else words[:1].upper() + words[1:]


def pairs(part: Part, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a nested dictionary, inner names after their outer ones and a dot."""
    for key, value in part.items():
        if isinstance(value, Mapping) and value:
            yield from pairs(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "none" if value is None else number(value)


def excerpt(text: str) -> str:
    """A text to read: `<br />` is a line break, control characters go, what is too long is cut."""
    text = re.sub(r"<br\s*/?>", "\n", text, flags=re.IGNORECASE)
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", "", text)
    text = re.sub(r"\s*\n\s*", "\n", text).strip()
    if len(text) <= MAX_EXAMPLE_CHARACTERS:
        return text
    return text[:MAX_EXAMPLE_CHARACTERS].rstrip() + "…"


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _plain(values: Sequence[object]) -> list[float]:
    # matplotlib leaves a gap at NaN, and would stretch the axis or fail at infinity and None
    return [float(value) if _finite(value) else math.nan for value in values]


def _stages(metrics: Part) -> dict[str, object]:
    seconds = metrics.get("seconds") or {}
    return {stage: value for stage, value in seconds.items() if stage != "total"}


# Plots


def curve_plot(history: Sequence[Part], alt: str, colours: Mapping[str, str]) -> Markup:
    """Values of the history by epoch: `colours` maps a key to a name in `PALETTE`."""
    epochs = range(1, len(history) + 1)
    marker = "o" if len(history) <= 30 else ""  # more would melt into one another

    def draw(axes: Axes) -> None:
        for key, colour in colours.items():
            values = _plain([epoch.get(key) for epoch in history])
            axes.plot(epochs, values, color=PALETTE[colour], marker=marker, clip_on=False)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(0.5, len(history) + 0.5)
        if all(key.endswith("accuracy") for key in colours):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))

    return _inline("-".join(colours), alt, draw)


def reliability_plot(calibration: Part, alt: str) -> Markup:
    """The share of positive rows by score, a 95 % interval at each point, beside the diagonal."""
    means, shares = _plain(calibration["mean_score"]), _plain(calibration["fraction_positive"])
    points = [
        (mean, share, *bounds)
        for mean, share, count in zip(means, shares, calibration["count"], strict=True)
        if math.isfinite(mean) and (bounds := wilson(share, count))
    ]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=PALETTE["muted"], linewidth=1, linestyle=(0, (4, 4)))
        if points:
            mean, share, low, high = zip(*points, strict=True)
            axes.vlines(mean, low, high, color=PALETTE["first"], linewidth=1.2)
            axes.plot(mean, share, color=PALETTE["first"], marker="o", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Mean score")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))

    return _inline("reliability", alt, draw)


def score_plot(calibration: Part, alt: str) -> Markup:
    """How many rows scored how much, stacked by true label (bins and counts of the calibration)."""
    edges, counts = calibration["bin_edges"], calibration["count"]
    shares = _plain(calibration["fraction_positive"])
    positive = [n * share if n else 0.0 for n, share in zip(counts, shares, strict=True)]
    negative = [n - part for n, part in zip(counts, positive, strict=True)]
    # a sliver of the page between the bars
    widths = [0.94 * (high - low) for low, high in pairwise(edges)]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]

    def draw(axes: Axes) -> None:
        axes.bar(middles, positive, widths, color=PALETTE["first"])
        axes.bar(middles, negative, widths, color=PALETTE["second"], bottom=positive)
        axes.set(xlim=(edges[0], edges[-1]), xlabel="Score")
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))

    return _inline("scores", alt, draw)


def horizon_plot(metrics: Part, alt: str) -> Markup:
    """The squared error by step ahead, of the model and, thin, of linear autoregression."""
    steps = _plain(metrics["test"]["by_horizon"]["mse"])
    beside = (metrics.get("baseline") or {}).get("linear", {}).get("by_horizon", {}).get("mse")

    def draw(axes: Axes) -> None:
        ahead = range(1, len(steps) + 1)
        marker = "o" if len(steps) <= 30 else ""
        axes.plot(ahead, steps, color=PALETTE["first"], marker=marker)
        if beside:
            axes.plot(ahead, _plain(beside), color=PALETTE["second"], linewidth=1.2, marker=marker)
        axes.set_xlabel("Steps ahead")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

    return _inline("horizon", alt, draw)


def window_plot(window: Part, alt: str, name: str) -> Markup:
    """The end of a window's past, what came, and the forecast with its interval."""
    past, truth = _plain(window["past"]), _plain(window["truth"])
    ahead = range(1, len(truth) + 1)

    def draw(axes: Axes) -> None:
        axes.plot(range(1 - len(past), 1), past, color=PALETTE["muted"], linewidth=1.2)
        axes.plot(ahead, truth, color=PALETTE["second"], marker="o" if len(truth) == 1 else "")
        if window.get("low"):
            low, high = _plain(window["low"]), _plain(window["high"])
            if len(truth) == 1:
                axes.vlines(ahead, low, high, color=PALETTE["first"], linewidth=1.2)
            else:
                axes.fill_between(ahead, low, high, color=PALETTE["first"], alpha=0.2, linewidth=0)
        forecast = _plain(window["forecast"])
        axes.plot(ahead, forecast, color=PALETTE["first"], marker="o" if len(truth) == 1 else "")
        axes.set_xlabel("Steps from the last reading")

    return _inline(name, alt, draw)


def stage_plot(metrics: Part, alt: str) -> Markup:
    """Seconds of each stage as bars, in their order, without the total."""
    stages = {heading(stage): s for stage, s in _stages(metrics).items() if _finite(s)}

    def draw(axes: Axes) -> None:
        bars = axes.barh(list(stages), list(stages.values()), 0.6, color=PALETTE["first"])
        axes.bar_label(bars, [duration(s) for s in stages.values()], padding=4)
        axes.margins(x=0.25)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel("Seconds")

    return _inline("stages", alt, draw, height=0.9 + 0.33 * max(1, len(stages)))


def _inline(name: str, alt: str, draw: Callable[[Axes], None], height: float = 2.9) -> Markup:
    """Draw a plot and return it as an SVG element for a page; `name` keeps its ids apart."""
    with style.context(["default", PLOT_STYLE]):
        figure = Figure(figsize=(4.8, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    size = svg[svg.index("viewBox") : svg.index(" xmlns=")]
    # its style sheet would reach the whole page: the first <defs> stays behind
    svg = svg[svg.index("</defs>") + len("</defs>") : svg.rindex("</svg>")]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg.replace("xlink:href", "href"))
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)  # that of the page holds
    for variable, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{variable})")
    alt = Markup(" ").join(alt.split())
    return Markup(f'<svg {size} role="img" aria-label="{escape(alt)}">{svg}</svg>')
