"""Self-contained pages: one HTML file each, from a template in `templates`, without a script or an address.

All that a template may call stands here: how values are written (`rnnfast.reports.wording`) and drawn
(`rnnfast.reports.plots`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import ChainableUndefined, Environment, FileSystemLoader

from rnnfast.reports import plots, wording
from rnnfast.training.atomic import write_whole

FILTERS: tuple[Callable[..., object], ...] = (
    wording.number,
    wording.percent,
    wording.duration,
    wording.interval,
    wording.heading,
    wording.pairs,
    wording.excerpt,
    wording.marked,
    wording.effects,
    wording.strongest,
)

PLOTS: tuple[Callable[..., plots.Plot], ...] = (
    plots.curve_plot,
    plots.reliability_plot,
    plots.score_plot,
    plots.distribution_plot,
    plots.stage_plot,
    plots.horizon_plot,
    plots.window_plot,
    plots.drift_plot,
    plots.map_plot,
)

TEMPLATES = Path(__file__).parent / "templates"


class Picture(NamedTuple):
    """A plot of a page that stands alone.

    Attributes:
        alt: what it says of itself.
        svg: an SVG file, light or dark, whichever whoever looks at it prefers.
    """

    alt: str
    svg: str


class Page(NamedTuple):
    """A page, and its plots in their order.

    Attributes:
        content: the HTML file.
        pictures: what else shows the plots, where the page is not seen.
    """

    content: bytes
    pictures: tuple[Picture, ...]


def page(template: str, **values: Any) -> Page:
    """A page.

    Args:
        template: name of a file in `templates`.
        values: what the template speaks of; one that is absent reads as nothing.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=ChainableUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn: list[plots.Plot] = []

    def kept(draw: Callable[..., plots.Plot]) -> Callable[..., plots.Plot]:
        def call(*given: Any, **more: Any) -> plots.Plot:
            drawn.append(draw(*given, **more))
            return drawn[-1]

        return call

    environment.filters.update({call.__name__: call for call in FILTERS})
    environment.filters.update({draw.__name__: kept(draw) for draw in PLOTS})
    content = environment.get_template(template).render(values).encode("utf-8", errors="replace")
    colours = (TEMPLATES / "colours.css").read_text(encoding="utf-8")
    return Page(content, tuple(Picture(plot.alt, plot.alone(colours)) for plot in drawn))


def write_page(path: Path, template: str, **values: Any) -> tuple[Picture, ...]:
    """Write a page, whole or not at all, and return its plots.

    Args:
        path: the file; its folder must exist, a file of that name is replaced.
        template: as in `page`.
        values: likewise.
    """
    content, pictures = page(template, **values)
    write_whole(path, content)
    return pictures
