"""What a check on a GPU has come to, as one page of tables: of the stages, the sample, and what bench-cuda wrote."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.stages import Outcome

SAMPLE = {
    "train_tokens_per_second": "training, tokens/s",
    "score_reviews_per_second": "texts in memory, reviews/s",
    "files_reviews_per_second": "files, reviews/s",
}


def report(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Markdown, from the stages and the files that they have left in the folder."""
    parts = ["# A check on a GPU", _stages(outcomes)]
    if (sample := _json(folder / "sample.json")) is not None:
        parts += ["## The sample, trained and scored", _sample(sample)]
    for file in sorted(folder.glob("bench-*.md")):
        parts += [f"## {file.stem}", file.read_text(encoding="utf-8")]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _stages(outcomes: Sequence[Outcome]) -> str:
    rows = [
        (o.name, o.result, f"{o.seconds:.0f}", f"{o.allowed:.0f}", o.said.replace("|", "/")[:120])
        for o in outcomes
    ]
    return table(["stage", "result", "seconds", "of", "its last line"], rows)


def _sample(rows: Sequence[dict[str, Any]]) -> str:
    head = ["device", "cell", "precision", *SAMPLE.values(), "accuracy"]
    return table(
        head,
        [
            (
                row["device"],
                row["cell"],
                row["precision"],
                *(f"{row[name]:,.0f}" for name in SAMPLE),
                f"{row['accuracy']:.2%}",
            )
            for row in rows
        ],
    )


def _json(path: Path) -> Any:
    """What is in a file; None where it is not there, or was cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
