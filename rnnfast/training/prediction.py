"""What a trained model says of many rows, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from rnnfast.models.window_model import WindowModel
from rnnfast.series.windows import Windows
from rnnfast.training.workers import ALONE, Workers

BATCH = 256  # rows that a model reads at a time


def predict(model: nn.Module, ids: Tensor, lengths: Tensor, batch_size: int = BATCH) -> np.ndarray:
    """Probabilities (N,) float32 of label 1, for ids (N, L) and lengths (N,)."""
    logits = model_outputs(model, ids, lengths, batch_size)
    # In float64: torch's float32 sigmoid gives the last of many numbers another last bit than the others.
    result: np.ndarray = logits.double().sigmoid().float().numpy()
    return result


def model_outputs(
    model: nn.Module, ids: Tensor, lengths: Tensor, batch_size: int = BATCH
) -> Tensor:
    """What a model of texts gives, (N,) or (N, O), for ids (N, L) and lengths (N,).

    The rows are read in the order of their lengths, so that little padding is.
    """
    order = lengths.argsort(stable=True)
    was_training = model.training
    model.eval()
    parts = []
    try:
        with torch.inference_mode():
            for rows in order.split(batch_size) if len(order) else ():
                parts.append(model(ids[rows], lengths[rows]))
    finally:
        model.train(was_training)
    if not parts:
        return torch.empty(0)
    with torch.inference_mode():
        found = torch.cat(parts)
        result = torch.empty_like(found)
        result[order] = found
    return result


def forecasts(
    model: WindowModel, windows: Windows, batch_size: int = BATCH, workers: Workers = ALONE
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a model of windows says of all of them, in order: numbers (N,) and outputs (N, ...).

    Of several workers each gets every so many batches.
    """
    was_training = model.training
    model.eval()
    try:
        for rows in islice(windows.batches(batch_size), workers.rank, None, workers.count):
            # Left before each yield: the mode would hold for whoever takes the outputs.
            with torch.inference_mode():
                output = model(windows.take(rows)[:, : model.config.lookback])
            yield rows, output
    finally:
        model.train(was_training)
