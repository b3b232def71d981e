"""What all trainings have in common: the folder of the run, its beginning and its end."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from flows import cache_folder
from flows.apart import require_data_apart
from flows.orchestration.artifacts import show_training
from flows.orchestration.engine import as_task
from flows.orchestration.events import tell_promotion
from flows.parameters import ReviewsRequest, ScoreRequest, SensorsRequest
from flows.progress import stage
from flows.steps.prepare.download import download
from flows.steps.report.publish import PARTS_FOLDER, dated, finish, new_run, publish
from flows.steps.score.files import score_files
from flows.steps.score.job import Summary
from flows.steps.train.register import register

download_task = as_task(download, retries=4)
score_task = as_task(score_files)
finish_task = as_task(finish)
register_task = as_task(register)
publish_task = as_task(publish)


@dataclass
class TrainingRun:
    """A run that is being built.

    Attributes:
        request: what was asked for.
        output: where the run is going to be.
        folder: where it is built.
        cache: what outlives it: downloads, tables, checkpoints.
        seconds: what each stage has taken.
        metrics: all that was measured, when the stages are done.
    """

    request: ReviewsRequest | SensorsRequest
    output: Path
    folder: Path
    cache: Path = field(default_factory=cache_folder)
    seconds: dict[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> Path:
        """What only the steps need; gone when the run is published."""
        return self.folder / PARTS_FOLDER

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Measures a stage."""
        return stage(name, self.seconds)

    def downloaded(self) -> Path | None:
        """The archive of the data set, checked, if it has one."""
        data = self.request.data
        with self.stage("download"):
            return download_task(data.archive, self.cache, data.mirror) if data.archive else None

    def scored(self, **more: Any) -> Summary:
        """Scores the test rows into the folder of the run; `more` are fields of the request."""
        request = ScoreRequest(
            model=str(self.folder),
            input=str(self.parts / "test.parquet"),
            output=str(self.folder / "scores"),
            execution=self.request.execution,
            **more,
        )
        with self.stage("score"):
            return score_task(self.folder, request, report=False)


@contextmanager
def training_run(name: str, request: ReviewsRequest | SensorsRequest) -> Iterator[TrainingRun]:
    """A run to build in the block, which measures it; then it is reported, registered and published.

    Where anything fails there is no folder at the request's output.

    Args:
        name: of the flow.
        request: what was asked for.
    """
    started = perf_counter()
    output = dated(request.output).absolute()
    require_data_apart(request.data, output)
    with new_run(output, request.overwrite) as folder:
        run = TrainingRun(request, output, folder)
        yield run
        run.seconds["total"] = perf_counter() - started
        pictures = finish_task(folder, run.metrics, run.seconds)
        if request.registration is not None:
            test = run.metrics["test"]
            tell_promotion(register_task(folder, output, test, request.registration))
        publish_task(folder, output, request.overwrite)
    show_training(name, output, {**run.metrics, "seconds": run.seconds}, pictures)
