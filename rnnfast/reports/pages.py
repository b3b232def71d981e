"""Self-contained pages: one HTML file each, from a template in `templates`, without a script or an address.

All that a template may call stands here: how values are written (`rnnfast.reports.wording`) and drawn
(`rnnfast.reports.plots`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader

from rnnfast.reports import plots, wording

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


def page(template: str, **values: Any) -> bytes:
    """A page.

    Args:
        template: name of a file in `templates`.
        values: what the template speaks of; one that is absent reads as nothing.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=ChainableUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({call.__name__: call for call in FILTERS})
    return environment.get_template(template).render(values).encode("utf-8", errors="replace")


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a page, whole or not at all.

    Args:
        path: the file; its folder must exist, a file of that name is replaced.
        template: as in `page`.
        values: likewise.
    """
    content = page(template, **values)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
