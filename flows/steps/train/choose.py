"""Keeps the best of the models that were trained on the same windows, as the validation windows tell."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.steps.prepare.series import part_windows
from rnnfast.evaluation.checks import Check, Limits, check
from rnnfast.evaluation.choice import CHOICE_BLOCKS, choose
from rnnfast.scoring.scorers import SensorScorer
from rnnfast.series.windows import Windows
from rnnfast.training.run_folder import CONFIG, WEIGHTS

_MOST = 1 << 14  # windows that a model is measured on

logger = logging.getLogger(__name__)


def choose_windows(
    parts: Path, run: Path, beside: Mapping[Any, Path], limits: Limits, *, replace: bool
) -> tuple[list[Check], dict[str, Any]]:
    """Compares the model of a run with those beside it, and says which is kept.

    Args:
        parts: folder that `prepare_series` filled.
        run: folder with the trained model, which gets the weights and settings of a better one.
        beside: folders of the others, by name.
        limits: the rules.
        replace: whether a better one takes its place.

    Returns:
        Whether the model is beaten by what stands beside it, and of `metrics.json` the "choice"; nothing without
        validation windows, or without others.
    """
    models = {"": run, **beside}
    blocks: dict[str, np.ndarray] = {}
    for name, folder in models.items():
        scorer = SensorScorer.load(folder)
        model = scorer.model
        found = part_windows(parts, "validation", model.config)
        if found is None or not beside:
            return [], {}
        windows, labels, _ = found
        blocks[name or model.config.cell] = block_errors(scorer, windows, labels)
    asked = next(iter(blocks))
    choice = choose(asked, blocks, replace=replace)
    if choice.kept != asked:
        for file in (WEIGHTS, CONFIG):
            shutil.copyfile(beside[choice.kept] / file, run / file)
    (logger.warning if choice.is_sure else logger.info)("%s", choice)
    beaten = check(limits, "beaten", asked, choice.gain if choice.is_sure else 0.0)
    return [beaten], {"choice": asdict(choice) | {"summary": str(choice)}}


def block_errors(scorer: SensorScorer, windows: Windows, labels: torch.Tensor) -> np.ndarray:
    """The mean error of a model over each of CHOICE_BLOCKS blocks of windows (B,), in their order.

    Of forecasts it is squared, in standard deviations; of labels it is the share of wrong ones.
    """
    model = scorer.model
    chosen = Windows(
        windows.values, windows.runs, windows.size, windows.step * -(-len(windows) // _MOST)
    )
    errors = np.empty(len(chosen))
    for numbers, output in scorer.forecasts(chosen):
        if model.config.task == "classify":
            missed = (output.argmax(1) != labels[chosen.run_of(numbers)]).double()
        else:
            truth = model.standardised(chosen.take(numbers)[:, model.config.lookback :])
            missed = (output[..., 0] - truth[..., model.targets]).square().mean((1, 2))
        errors[numbers.numpy()] = missed.numpy()
    return np.array([block.mean() for block in np.array_split(errors, CHOICE_BLOCKS) if len(block)])
