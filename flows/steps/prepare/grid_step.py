"""The step of readings that nobody gave: a length of time, or one of the calendar."""

import numpy as np

from flows.errors import InputError
from rnnfast.series.calendar_steps import find_anchor, find_unit, to_places
from rnnfast.series.order import DAY, in_order
from rnnfast.training.run_folder import SeriesInfo


def find_step(times: np.ndarray, groups: np.ndarray, usual: int) -> tuple[int, str]:
    """The step of times and its unit: microseconds and an empty one, or the places of the calendar and theirs."""
    unit = find_unit(times, groups) if usual >= DAY else ""
    return (in_order(to_places(times, unit), groups).step if unit else usual), unit


def with_step(
    times: np.ndarray, groups: np.ndarray, usual: int, info: "SeriesInfo"
) -> "SeriesInfo":
    """The rules with the step, found where it is not given, and with the day and clock that steps of the calendar have.

    Args:
        times: (T,) int64 microseconds, in the order of group and time.
        groups: (T,) integers.
        usual: the usual distance of neighbours, 0 where there are none.
        info: the rules so far.

    Raises:
        InputError: the step is to be found, and no device has two readings.
    """
    if info.step == 0:
        if usual == 0:
            raise InputError(
                "--dataset or --input must hold two readings of a device, found one of each"
            )
        step, unit = find_step(times, groups, usual) if info.order == "time" else (usual, "")
        nearest = info.order == "time" and not unit
        info = info.model_copy(update={"step": step, "unit": unit, "nearest": nearest})
    if info.unit and not info.anchor:
        places = to_places(times, info.unit)
        shared = (np.diff(places) == 0) & (np.diff(groups) == 0)
        # What is made of several readings has the time at which the step begins.
        anchor = 0 if shared.any() else find_anchor(times)
        info = info.model_copy(update={"anchor": anchor})
    return info
