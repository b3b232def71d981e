"""The plots of a page, each an SVG element that serves the light and the dark theme.

A plot is drawn by matplotlib in the placeholder colours of `PALETTE`. Inlining it swaps each
placeholder for a CSS variable of the page's style sheet.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise

from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from rnnfast.reports.wording import Part, duration, finite, heading, wilson

PALETTE = {
    "page": "#00000a",
    "ink": "#000001",
    "muted": "#000002",
    "line": "#000003",
    "first": "#000004",
    "second": "#000005",
    "third": "#000006",
    "fourth": "#000007",
    "fifth": "#000008",
    "sixth": "#000009",
}
"""CSS variable of the page -> the placeholder colour that stands for it while a plot is drawn."""

LINES = ("first", "second", "third", "fourth", "fifth", "sixth")
"""Colours of lines that stand for several runs, in their order."""

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


@dataclass(frozen=True)
class Plot:
    """A plot, as an element of a page or by itself.

    Attributes:
        alt: what it says of itself.
        width: of its drawing.
        height: likewise.
        drawn: the SVG elements in it, in the colours of a page.
    """

    alt: str
    width: str
    height: str
    drawn: str

    def __html__(self) -> str:
        """The element of a page."""
        return f"<svg {self._shown}>{self.drawn}</svg>"

    def alone(self, colours: str) -> str:
        """The plot as an SVG file, with the style sheet of its colours."""
        style = f"{colours} svg {{ font-family: system-ui, sans-serif; }}"
        ground = '<rect width="100%" height="100%" style="fill: var(--page)"/>'
        size = f'width="{self.width}" height="{self.height}"'
        opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {self._shown}>'
        svg = f"{opening}<style><![CDATA[{style}]]></style>{ground}{self.drawn}</svg>"
        return re.sub(r"\s+", " ", svg)

    @property
    def _shown(self) -> str:
        box = f"0 0 {self.width} {self.height}"
        return f'viewBox="{box}" role="img" aria-label="{escape(self.alt)}"'


def curve_plot(history: Sequence[Part], alt: str, colours: Mapping[str, str]) -> Plot:
    """Values of the history by epoch: `colours` maps a key to a name in `PALETTE`."""
    epochs = range(1, len(history) + 1)
    marker = "o" if len(history) <= 30 else ""  # more would melt into one another

    def draw(axes: Axes) -> None:
        for key, colour in colours.items():
            values = plain([epoch.get(key) for epoch in history])
            axes.plot(epochs, values, color=PALETTE[colour], marker=marker, clip_on=False)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(0.5, len(history) + 0.5)
        if all(key.endswith("accuracy") for key in colours):
            _of_shares(axes)

    return inline("-".join(colours), alt, draw)


def reliability_plot(calibration: Part, alt: str) -> Plot:
    """The share of positive rows by score, a 95 % interval at each point, beside the diagonal."""
    means, shares = plain(calibration["mean_score"]), plain(calibration["fraction_positive"])
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
        _of_shares(axes)

    return inline("reliability", alt, draw)


def score_plot(calibration: Part, alt: str) -> Plot:
    """How many rows scored how much, stacked by true label (bins and counts of the calibration)."""
    edges, counts = calibration["bin_edges"], calibration["count"]
    shares = plain(calibration["fraction_positive"])
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

    return inline("scores", alt, draw)


def distribution_plot(distribution: Part, alt: str, name: str) -> Plot:
    """How many rows have which value, as bars, and as steps how many of them would if they were like those before.

    Args:
        distribution: `edges` (K + 1,) of the bins, `counts` (K,), `before` (K,) or None, `of` in words.
        alt: the plot in words.
        name: keeps it apart from others of the page.
    """
    edges, counts, before = (distribution[key] for key in ("edges", "counts", "before"))
    # a sliver of the page between the bars
    widths = [0.94 * (high - low) for low, high in pairwise(edges)]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]

    def draw(axes: Axes) -> None:
        axes.bar(middles, counts, widths, color=PALETTE["first"])
        if before is not None:
            axes.stairs(before, edges, baseline=None, color=PALETTE["second"], linewidth=1.6)
        axes.set(xlim=(edges[0], edges[-1]), xlabel=distribution["of"])
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))

    return inline(name, alt, draw)


def horizon_plot(metrics: Part, alt: str) -> Plot:
    """The squared error by step ahead, of the model and, thin, of linear autoregression."""
    steps = plain(metrics["test"]["by_horizon"]["mse"])
    beside = (metrics.get("baseline") or {}).get("linear", {}).get("by_horizon", {}).get("mse")

    def draw(axes: Axes) -> None:
        ahead = range(1, len(steps) + 1)
        marker = "o" if len(steps) <= 30 else ""
        axes.plot(ahead, steps, color=PALETTE["first"], marker=marker)
        if beside:
            axes.plot(ahead, plain(beside), color=PALETTE["second"], linewidth=1.2, marker=marker)
        axes.set_xlabel("Steps ahead")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

    return inline("horizon", alt, draw)


def window_plot(window: Part, alt: str, name: str) -> Plot:
    """The end of a window's past, what came, and the forecast with its interval."""
    past, truth = plain(window["past"]), plain(window["truth"])
    ahead = range(1, len(truth) + 1)

    def draw(axes: Axes) -> None:
        axes.plot(range(1 - len(past), 1), past, color=PALETTE["muted"], linewidth=1.2)
        axes.plot(ahead, truth, color=PALETTE["second"], marker="o" if len(truth) == 1 else "")
        if window.get("low"):
            low, high = plain(window["low"]), plain(window["high"])
            if len(truth) == 1:
                axes.vlines(ahead, low, high, color=PALETTE["first"], linewidth=1.2)
            else:
                axes.fill_between(ahead, low, high, color=PALETTE["first"], alpha=0.2, linewidth=0)
        forecast = plain(window["forecast"])
        axes.plot(ahead, forecast, color=PALETTE["first"], marker="o" if len(truth) == 1 else "")
        axes.set_xlabel("Steps from the last reading")

    return inline(name, alt, draw)


def stage_plot(metrics: Part, alt: str) -> Plot:
    """Seconds of each stage as bars, in their order, without the total."""
    stages = {heading(stage): s for stage, s in stage_seconds(metrics).items() if finite(s)}

    def draw(axes: Axes) -> None:
        bars = axes.barh(list(stages), list(stages.values()), 0.6, color=PALETTE["first"])
        axes.bar_label(bars, [duration(s) for s in stages.values()], padding=4)
        axes.margins(x=0.25)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel("Seconds")

    return inline("stages", alt, draw, height=0.9 + 0.33 * max(1, len(stages)))


def drift_plot(indices: Mapping[str, float], limits: Sequence[float | None], alt: str) -> Plot:
    """The stability index of each feature as bars, beside the limits."""

    def draw(axes: Axes) -> None:
        bars = axes.barh(list(indices), list(indices.values()), 0.6, color=PALETTE["first"])
        over = {"facecolor": PALETTE["page"], "linewidth": 0, "pad": 1}  # the lines of the limits
        axes.bar_label(bars, [f"{index:.3f}" for index in indices.values()], padding=4, bbox=over)
        for limit in limits:
            if limit is not None:
                axes.axvline(limit, color=PALETTE["second"], linewidth=1.2, linestyle=(0, (4, 3)))
        most = max([*indices.values(), *(limit for limit in limits if limit is not None)])
        axes.set_xlim(0, 1.25 * most)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set_xlabel("Population stability index")

    return inline("drift", alt, draw, height=0.9 + 0.33 * len(indices))


def map_plot(words: Sequence[Part], alt: str) -> Plot:
    """Words in two dimensions: circles and squares for scores above and below one half.

    The words come in the order of their weight; one is written out where there is room beside those before it.
    """
    height = 4.8

    def draw(axes: Axes) -> None:
        for colour, marker, positive in (("first", "o", True), ("second", "s", False)):
            own = [word for word in words if (word["score"] >= 0.5) == positive]
            # The surer, the fuller.
            alphas = [min(1.0, 0.25 + 1.5 * abs(word["score"] - 0.5)) for word in own]
            filled = [to_rgba(PALETTE[colour], alpha) for alpha in alphas]
            places = [word["x"] for word in own], [word["y"] for word in own]
            axes.scatter(*places, 16, color=filled, marker=marker, linewidths=0)
        axes.margins(0.08, 0.04)
        axes.set(xlabel="First principal component", ylabel="Second")
        axes.tick_params(labelbottom=False, labelleft=False, bottom=False)
        _write_words(axes, words)

    return inline("map", alt, draw, height)


def _write_words(axes: Axes, words: Sequence[Part]) -> None:
    """Writes words beside their points, right or else left, each where it covers none before it."""
    page = axes.get_figure(root=True)
    assert page is not None
    page.draw_without_rendering()  # settles where the points are
    size, scale = 7.5, page.get_dpi() / 72  # points, and pixels of a point
    frame = axes.get_window_extent()
    taken: list[tuple[float, float, float]] = []
    for word in words:
        x, y = axes.transData.transform((word["x"], word["y"]))
        # The page's font is not known here: most are no wider than this.
        reach, half = (6 + 0.66 * size * len(word["word"])) * scale, 0.75 * size * scale
        for side in (1, -1):
            left, right = sorted((x - 3 * side * scale, x + reach * side))
            free = all(
                right < other[0] or left > other[2] or abs(y - other[1]) > 2 * half
                for other in taken
            )
            if free and frame.x0 < left and right < frame.x1:
                taken.append((left, y, right))
                axes.annotate(
                    word["word"],
                    (word["x"], word["y"]),
                    (4 * side, -0.35 * size),
                    textcoords="offset points",
                    fontsize=size,
                    horizontalalignment="left" if side == 1 else "right",
                )
                break


def overlaid_plot(name: str, curves: Mapping[str, Sequence[object]], alt: str) -> Plot:
    """The same value by epoch of several runs, each line with the name of its run at its end.

    Args:
        name: of the value, a key of the history.
        curves: its values by the short name of each run.
        alt: the plot in words.
    """
    longest = max(map(len, curves.values()))

    def draw(axes: Axes) -> None:
        styles = zip(cycle(LINES), cycle(("-", (0, (5, 2)), (0, (1, 1.5)))), strict=False)
        for (run, values), (colour, dashes) in zip(curves.items(), styles, strict=False):
            numbers = plain(values)
            axes.plot(
                range(1, len(numbers) + 1),
                numbers,
                color=PALETTE[colour],
                linestyle=dashes,
                marker="o" if longest <= 30 else "",
                clip_on=False,
            )
            if math.isfinite(numbers[-1]):
                end = len(numbers), numbers[-1]
                axes.annotate(run, end, (7, -3), textcoords="offset points", fontsize=9)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(0.5, longest + 0.5)
        if name.endswith("accuracy"):
            _of_shares(axes)

    return inline(f"runs-{name}", alt, draw)


def _of_shares(axes: Axes) -> None:
    """Makes the upright axis one of shares in percent, which the room above and below what is drawn must not leave."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), min(high, 1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def stage_seconds(metrics: Part) -> dict[str, object]:
    """Seconds of each stage of a run, without the total."""
    seconds = metrics.get("seconds") or {}
    return {stage: value for stage, value in seconds.items() if stage != "total"}


def plain(values: Sequence[object]) -> list[float]:
    """Values to draw: NaN, at which matplotlib leaves a gap, for what is no number."""
    return [float(value) if finite(value) else math.nan for value in values]


def inline(name: str, alt: str, draw: Callable[[Axes], None], height: float = 2.9) -> Plot:
    """Draw a plot; `name` keeps its ids apart from those of others on a page."""
    with style.context(["default", PLOT_STYLE]), warnings.catch_warnings():
        # Text stays text, which the browser draws by fonts of its own; one of matplotlib's only measures it, and
        # what it lacks has the width of a box there.
        warnings.filterwarnings("ignore", r"Glyph \d+|Matplotlib currently does not support")
        figure = Figure(figsize=(4.8, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    [(across, down)] = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    # its style sheet would reach the whole page: the first <defs> stays behind
    svg = svg[svg.index("</defs>") + len("</defs>") : svg.rindex("</svg>")]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg.replace("xlink:href", "href"))
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)  # that of the page holds
    for variable, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{variable})")
    text = alt.unescape() if isinstance(alt, Markup) else alt
    return Plot(" ".join(text.split()), across, down, svg)
