"""The score job: files of reviews or readings in, files of scores out."""

from typing import cast

from prefect import flow
from prefect.states import Completed

from flows.apart import require_outside_models
from flows.orchestration.artifacts import show_scoring
from flows.orchestration.engine import as_task
from flows.orchestration.events import tell_drift
from flows.parameters import ScoreRequest
from flows.steps.score.files import score_files
from flows.steps.score.job import Summary
from flows.store.registry import chosen_model

score_task = as_task(score_files)


@flow(name="score", persist_result=False)
def score(request: ScoreRequest) -> Summary:
    """Scores reviews or readings with the model of a run.

    Args:
        request: What is scored, with which model, and where the scores go.

    Returns:
        What was done, in files and rows. Where there was nothing to do, the state of the run says so.
    """
    judged: list[Summary] = []
    require_outside_models(request.model, request.registry, request.output)
    with chosen_model(request.model, request.registry) as folder:
        try:
            done = score_task(folder, request, on_judged=judged.append)
        except Exception:
            # Its scores are there all the same: the gate is closed, say, or a file cannot be read.
            for each in judged:
                _show(each, request.output)
            raise
    _show(done, request.output)
    if done.nothing:
        # Prefect takes the state for that of the run, and hands over its data.
        return cast(Summary, Completed(message=done.nothing, data=done))
    return done


def _show(done: Summary, output: str) -> None:
    """Shows what was done, and tells what was judged."""
    if done.drift is not None:
        tell_drift(output, done.drift)
    show_scoring(done, output)
