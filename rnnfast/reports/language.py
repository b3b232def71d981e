"""The report of a language model: its perplexity, the course of its training, and texts that it has made up."""

from __future__ import annotations

from pathlib import Path

from rnnfast.reports.pages import Picture, write_page
from rnnfast.reports.wording import Part

LANGUAGE_SECTIONS = (
    ("perplexity", "Perplexity"),
    ("training", "Training"),
    ("samples", "Samples"),
    ("parameters", "Parameters"),
)
"""Anchor of a section, and its heading."""

_UNUSED = ("regularization", "class_weights")  # settings of trainings of which this is none


def write_language_report(path: Path, config: Part, metrics: Part) -> tuple[Picture, ...]:
    """Write the page of a language model to `path`, whole or not at all, and return its plots.

    Args:
        path: the file to write; its folder must exist, a file of that name is replaced.
        config: what the run was made with: `model`, `training`, `data`, `versions`.
        metrics: what came out: `validation`, `history`, `samples`, `words`, `data`, `seconds`.
    """
    return write_page(
        path,
        "language.html.jinja",
        title=f"Language model of {config['data']['dataset']}",
        config=config,
        metrics=metrics,
        noun="reviews",
        sections=LANGUAGE_SECTIONS,
        parameters={
            "Model": config["model"],
            "Training": {k: v for k, v in config["training"].items() if k not in _UNUSED},
            "Data": config["data"],
            "Seconds": metrics.get("seconds"),
            "Versions": config["versions"],
        },
    )
