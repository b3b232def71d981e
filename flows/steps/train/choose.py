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
from rnnfast.evaluation.choice import block_means, choose
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
        found = part_windows(parts, "validation", scorer.model.config)
        if found is None or not beside:
            return [], {}
        blocks[name or scorer.model.config.cell] = block_errors(scorer, *found[:2])
    asked = next(iter(blocks))
    choice = choose(asked, blocks, replace=replace)
    if choice.kept != asked:
        for file in (WEIGHTS, CONFIG):
            shutil.copyfile(beside[choice.kept] / file, run / file)
    (logger.warning if choice.is_sure else logger.info)("%s", choice)
    beaten = check(limits, "beaten", asked, choice.gain if choice.is_sure else 0.0)
    return [beaten], {"choice": asdict(choice) | {"summary": str(choice)}}


def block_errors(scorer: SensorScorer, windows: Windows, truth: torch.Tensor) -> np.ndarray:
    """The mean error of a model over each of CHOICE_BLOCKS blocks of windows (B,), in their order.

    Of forecasts it is squared, in standard deviations; of labels it is that of the target, of classes the share of
    wrong ones.
    """
    model, target = scorer.model, scorer.target
    places, chosen = sampled(windows)
    errors = np.empty(len(chosen))
    for numbers, output in scorer.forecasts(chosen):
        if target is not None:
            missed = target.errors(truth[places[numbers]].numpy(), target.given(output))
        else:
            known = model.standardised(chosen.take(numbers)[:, model.config.lookback :])
            missed = (output[..., 0] - known[..., model.targets]).square().mean((1, 2)).numpy()
        errors[numbers.numpy()] = missed
    return block_means(errors)


def sampled(windows: Windows) -> tuple[torch.Tensor, Windows]:
    """The windows that a model is measured on: their numbers among these, as far apart as need be, and they."""
    places = torch.arange(0, len(windows), -(-len(windows) // _MOST))
    return places, windows.only(places)
