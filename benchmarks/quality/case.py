"""A data set of the suite, and how what was measured on it becomes a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

Figures = Mapping[str, float]
"""What each model reached on the test rows, by the name of the model."""


@dataclass(frozen=True)
class Case:
    """A data set, and what is measured on it.

    Attributes:
        name: short, for `--only` and the table.
        about: what it is, with its numbers of rows.
        figure: what is measured, such as "accuracy".
        sign: 1 where more of it is better, else -1.
        measure: of the folder of the data, an empty folder to work in, and a seed, the figures. Ours are trained by the
            command line with default settings but for `--cell`.
        ours: names of our models among them, the one that the bars are of first.
    """

    name: str
    about: str
    figure: str
    sign: int
    measure: Callable[[Path, Path, int], Figures]
    ours: tuple[str, ...] = ("auto", "rnn")


def table(measured: Sequence[tuple[Case, Sequence[Figures]]]) -> str:
    """A line a case: the mean of each model over the seeds, and the spread where there are several."""
    models = list(dict.fromkeys(name for _, runs in measured for each in runs for name in each))
    lines = [
        f"| data | figure | {' | '.join(models)} |",
        f"| --- | --- | {' | '.join('---:' for _ in models)} |",
    ]
    for case, runs in measured:
        cells = " | ".join(_cells(case, runs, models))
        lines.append(f"| {case.name}: {case.about} | {case.figure} | {cells} |")
    return "\n".join(lines)


def _cells(case: Case, runs: Sequence[Figures], models: Sequence[str]) -> Iterator[str]:
    """The best in bold."""
    means = {
        name: fmean(run[name] for run in runs) for name in models if all(name in r for r in runs)
    }
    best = max(means, key=lambda name: case.sign * means[name])
    for name in models:
        if name not in means:
            yield ""
            continue
        text = f"{means[name]:.4f}"
        spread = stdev(run[name] for run in runs) if len(runs) > 1 else 0.0
        yield (f"**{text}**" if name == best else text) + (f" ± {spread:.4f}" if spread else "")
