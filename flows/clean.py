"""The clean job: what nobody needs any more goes."""

from pathlib import Path

from prefect import flow

from flows import cache_folder
from flows.orchestration.artifacts import show_cleaning
from flows.orchestration.engine import as_task
from flows.steps.score.clean import clean_up, summed_up

clean_task = as_task(clean_up)


@flow(name="clean", persist_result=False)
def clean(
    registry: Path = Path("models"),
    runs: Path = Path("runs"),
    keep: int = 10,
    days: float = 7,
    cache: Path | None = None,
    dry_run: bool = False,
) -> list[Path]:
    """Removes old runs and versions, and what dead jobs left; never what is in production or a way back to.

    Args:
        registry: The folder of the registry.
        runs: The folder of the runs.
        keep: How many runs, and versions of each model, to keep.
        days: Age of what dead jobs left to go on with.
        cache: The folder of the cache; by default that of whoever runs this.
        dry_run: Whether to remove nothing, and say what would be.

    Returns:
        What was removed, or would be.
    """
    removed = clean_task(registry, runs, cache or cache_folder(), keep, days, dry_run)
    show_cleaning(removed, summed_up(removed, dry_run))
    return [each.path for each in removed]
