"""What a trained model says of many rows, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from rnnfast.models.choices import Precision
from rnnfast.models.precision import computing, device_of, moved
from rnnfast.models.window_model import WindowModel
from rnnfast.series.windows import Windows
from rnnfast.training.workers import ALONE, Workers

BATCH = 256  # rows that a model reads at a time
GPU_BATCH = 1024  # likewise, of texts on a GPU


def predict(
    model: nn.Module,
    ids: Tensor,
    lengths: Tensor,
    batch_size: int = BATCH,
    precision: Precision = "fp32",
) -> np.ndarray:
    """Probabilities (N,) float32 of label 1, for ids (N, L) and lengths (N,); as `model_outputs`."""
    logits = model_outputs(model, ids, lengths, batch_size, precision)
    # In float64: torch's float32 sigmoid gives the last of many numbers another last bit than the others.
    result: np.ndarray = logits.double().sigmoid().float().numpy()
    return result


def model_outputs(
    model: nn.Module,
    ids: Tensor,
    lengths: Tensor,
    batch_size: int = BATCH,
    precision: Precision = "fp32",
) -> Tensor:
    """What a model of texts gives, (N,) or (N, O) float32 on the CPU, for ids (N, L) and lengths (N,).

    The rows, which are on the CPU, are read where the model is, in the order of their lengths, so that little padding
    is read.
    """
    order, device = lengths.argsort(stable=True), device_of(model)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), computing(model, precision):
            # What a GPU still computes is not waited for: the next rows are made ready meanwhile.
            parts = [
                model(moved(ids[rows], device), lengths[rows])
                for rows in (order.split(batch_size) if len(order) else ())
            ]
            if not parts:
                return torch.empty(0)
            found = torch.cat(parts).float().cpu()
            result = torch.empty_like(found)
            result[order] = found
    finally:
        model.train(was_training)
    return result


def forecasts(
    model: WindowModel,
    windows: Windows,
    batch_size: int = BATCH,
    workers: Workers = ALONE,
    precision: Precision = "fp32",
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a model of windows says of all of them, in order: numbers (N,) and outputs (N, ...), on the CPU.

    It computes where the model is. Of several workers each gets every so many batches.
    """
    was_training, device = model.training, device_of(model)
    model.eval()
    try:
        for rows in islice(windows.batches(batch_size), workers.rank, None, workers.count):
            # Left before each yield: the mode would hold for whoever takes the outputs.
            with torch.inference_mode(), computing(model, precision):
                output = model(moved(windows.take(rows)[:, : model.config.lookback], device))
            yield rows, output.cpu()
    finally:
        model.train(was_training)
