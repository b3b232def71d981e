"""How far the figures of a model are chance: those of trainings that differ in their seed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from flows.steps.prepare.settings import ReviewsSettings, SensorsSettings
from flows.steps.report.beside import Beside


def measured_seeds(
    parts: Path,
    trained: Sequence[tuple[ReviewsSettings | SensorsSettings, Path]],
    measure: Callable[[Path, Path], Beside],
    ensemble: bool,
) -> dict[str, Any]:
    """Measures the model of each seed on the test rows.

    Args:
        parts: folder that the first step filled.
        trained: settings and folders, as `flows.steps.train.seeds.of_seeds` has them.
        measure: what measures the model in a folder on the test rows, as `measured_beside` of either kind.
        ensemble: whether the mean of all models is kept, for the record.

    Returns:
        Of `metrics.json` the "seeds": of all figures the mean, the standard deviation and each value; nothing for one
        seed.
    """
    if len(trained) < 2:
        return {}
    measured = [measure(parts, folder).figures for _, folder in trained]
    values = {
        name: [each[name] for each in measured]
        for name in measured[0]
        # The threshold of a score is a setting.
        if name != "threshold" and all(isinstance(each.get(name), float) for each in measured)
    }
    return {
        "seeds": {
            "seeds": [settings.training.seed for settings, _ in trained],
            "ensemble": ensemble,
            "figures": {
                name: {"mean": fmean(each), "spread": stdev(each), "values": each}
                for name, each in values.items()
            },
        }
    }
