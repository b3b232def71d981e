"""What a run shows in Prefect's UI: its figures as a table, its plots, and where its files are.

The plots are those of the run's report, as images in the text of an artifact, since Prefect shows no file of the
machine. What a run has done does not depend on it: where the server takes no artifact, a warning is all.
"""

import base64
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows import REPORT
from flows.orchestration.showing import ADDRESS, place
from flows.steps.score.job import Summary
from flows.store.storage import Folder, redacted

if TYPE_CHECKING:  # it loads what draws, and scoring shows figures as well
    from flows.steps.score.clean import Removable

logger = logging.getLogger(__name__)


def show_training(
    name: str, run: Path, metrics: Mapping[str, Any], pictures: Sequence[tuple[str, str]]
) -> None:
    """Shows a published run: its figures, its plots, and where the report is.

    Args:
        name: of the flow, part of the artifacts' keys.
        run: its folder.
        metrics: of the run.
        pictures: the plots of its report, as text and SVG.
    """

    def show() -> None:
        create_table_artifact(
            figures(metrics), f"{name}-figures", "Metrics on each part of the data."
        )
        text = _plotted(run.name, Folder.at(run, "--output"), pictures)
        create_markdown_artifact(text, f"{name}-report", f"Plots of {run.name}")

    _shown(show)


def show_pretraining(
    run: Path, metrics: Mapping[str, Any], pictures: Sequence[tuple[str, str]]
) -> None:
    """Shows a published language model: its figures, the course of its training, and where the report is.

    Args:
        run: its folder.
        metrics: of the run.
        pictures: the plots of its report, as text and SVG.
    """

    def show() -> None:
        found = {**metrics["validation"], **metrics["words"]}
        rows = [{"figure": name, "value": _short(value)} for name, value in found.items()]
        create_table_artifact(rows, "pretrain-figures", "Figures of texts that were held out.")
        text = _plotted(run.name, Folder.at(run, "--output"), pictures)
        create_markdown_artifact(text, "pretrain-report", f"Plots of {run.name}")

    _shown(show)


def show_scoring(done: Summary, output: str) -> None:
    """Shows what a scoring run did, and how far its rows are from those of training.

    Args:
        done: what it did.
        output: the folder of the scores.
    """

    def show() -> None:
        counts = {
            "files": done.files,
            "shards": done.shards,
            "done earlier": done.skipped,
            "rows scored": done.rows,
            "rows rejected": done.rejected,
            "seconds": round(done.seconds, 3),
        }
        rows = [{"what": what, "count": count} for what, count in counts.items()]
        create_table_artifact(
            rows, "score-figures", done.nothing or f"Scores in {redacted(output)}"
        )
        if done.drift is not None:
            folder = Folder.at(output, "--output")
            text = _plotted(f"Scores in {folder}", folder, done.pictures)
            create_markdown_artifact(text, "score-report", f"Plots of the scores in {folder}")
            checks = [
                {name: each[name] for name in ("rule", "of", "value", "status")}
                for each in done.drift["checks"]
            ]
            create_table_artifact(checks, "score-drift", f"Checks: {done.drift['status']}")

    _shown(show)


def show_cleaning(removed: Sequence["Removable"], summed_up: str) -> None:
    """Shows what was removed, or would be, and that in a line."""

    def show() -> None:
        rows = [
            {"what": each.what, "path": str(each.path), "bytes": each.bytes} for each in removed
        ]
        create_table_artifact(rows, "clean-removed", summed_up)

    _shown(show)


def figures(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line for each figure that is a number, with a column for each part of the data that has it."""
    parts = {
        "test": metrics["test"],
        "validation": metrics.get("validation"),
        **(metrics.get("baseline") or {}),
    }
    columns = {name: part for name, part in parts.items() if part}
    numbers = [key for key, value in metrics["test"].items() if isinstance(value, int | float)]
    lines = [
        {"figure": key} | {name: _short(part.get(key)) for name, part in columns.items()}
        for key in numbers
    ]
    return [*lines, {"figure": "seconds"} | {"test": _short(metrics["seconds"]["total"])}]


def where(folder: Folder) -> str:
    """A line of Markdown that says where the report of a folder is, with a link where the folder is shown."""
    address = os.environ.get(ADDRESS)
    at = place(Path(folder.path, REPORT)) if address and folder.is_local else None
    if at is None:
        return f"`{folder / REPORT}`"
    return f"[{REPORT}]({address}/{at}) in [{folder}]({address}/{at.removesuffix(REPORT)})"


def _plotted(title: str, folder: Folder, pictures: Sequence[tuple[str, str]]) -> str:
    """The plots of the report of a folder as Markdown, and where it is."""
    images = [f"![{text}]({_image(svg)})\n\n{text}" for text, svg in pictures]
    return "\n\n".join([f"# {title}", where(folder), *images])


def _shown(show: Callable[[], None]) -> None:
    try:
        show()
    except Exception as error:
        logger.warning("The run continues without its artifacts in Prefect: %s", error)


def _image(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _short(value: object) -> object:
    return float(f"{value:.5g}") if isinstance(value, float) else value
