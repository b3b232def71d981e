"""What a training would read of files of readings: their time, step, devices and numbers, found as it finds them."""

from dataclasses import dataclass, replace

import numpy as np

from flows.datasets.series_columns import (
    PRESENT,
    find_devices,
    find_numbers,
    find_time,
    first_rows,
)
from flows.datasets.series_files import KINDS, SeriesColumns, typed_rows
from flows.errors import InputError
from flows.steps.prepare.grid_step import find_step
from flows.steps.prepare.oddities import REPEATED_SHARE, doubt, find_sentinels, stamp, stray_times
from flows.store.file_options import FileOptions
from flows.store.storage import File
from flows.tables.steps import step_text
from flows.tables.times import FORM_NAMES
from flows.wording import counted
from rnnfast.series.calendar_steps import seconds_of, to_places
from rnnfast.series.order import in_order


@dataclass(frozen=True)
class Times:
    """What the time stamps of a column, or of several together, say.

    Attributes:
        column: its name, or theirs parted by commas.
        form: how the stamps are written, in words.
        devices: the column that tells series apart; empty: there is one series.
        series: how many.
        step: seconds from one stamp to the next, the most frequent distance.
        step_name: the same in words, of the calendar where the stamps go by it.
        gaps: distances that are longer.
        repeated: stamps that a series has more than once.
        is_ordered: whether the rows are in the order of time.
        features: the columns of numbers that are read.
        sentinels: numbers that are taken for a missing one.
        odd: sentences on what may be wrong.
    """

    column: str
    form: str
    devices: str
    series: int
    step: float
    step_name: str
    gaps: int
    repeated: int
    is_ordered: bool
    features: tuple[str, ...]
    sentinels: tuple[float, ...]
    odd: tuple[str, ...]


def inspect_series(
    pattern: str,
    file: File,
    options: FileOptions,
    label: str | None,
    time_column: str | None = None,
    time_format: str | None = None,
) -> tuple[Times | None, str]:
    """What the first rows hold; None, and why, where a training would find no readings in them.

    Args:
        pattern: the address of the files.
        file: the first of them.
        options: how they are read.
        label: the column with labels, which holds no reading.
        time_column: with the time stamps; by default found.
        time_format: of them; by default found.
    """
    if file.kind not in KINDS:
        return None, f"readings must be in {' or '.join(KINDS)} files"
    try:
        rows, marks = first_rows(pattern, "FILE", options)
        column = time_column or find_time(rows)
        own = {column, *column.split(","), *([label] if label else [])}
        features, left_out = find_numbers(rows, marks, own)
        columns = SeriesColumns(column, features, time_format=time_format or "")
        table, rejected, form = typed_rows(rows, columns, marks, file)
    except InputError as error:
        return None, str(error)
    if table.num_rows < 2 or not features:
        return None, "no column of numbers was found"
    odd = list(left_out)
    if rejected:
        odd.append(f"row {rejected[0].place} cannot be read: {rejected[0].reason}")
    times, groups = table["time"].to_numpy(), np.zeros(table.num_rows, np.int64)
    order = in_order(times, groups)
    devices: tuple[str, ...] = ()
    if order.duplicates > max(2, REPEATED_SHARE * len(times)):
        devices = find_devices(rows, column, {label})
    if len(devices) == 2:
        both = " and ".join(map(repr, devices))
        odd.append(f"{both} tell devices apart together: join them in one column")
    if len(devices) == 1:
        by_device = replace(columns, group=devices[0], time_format=form)
        names = typed_rows(rows, by_device, marks, file)[0]["group"].combine_chunks()
        groups = names.dictionary_encode(null_encoding="encode").indices.to_numpy()
        order = in_order(times, groups)
    in_place = slice(None) if order.rows is None else order.rows
    in_time = times[in_place], groups[in_place]
    step, unit = find_step(*in_time, order.step)
    places = to_places(in_time[0], unit) if unit else in_time[0]
    distances = np.diff(places)[np.diff(in_time[1]) == 0]
    if len(stray := stray_times(*in_time, order.step)):
        are = counted(len(stray), "reading is", "readings are")
        odd.append(f"{are} far from all others, the first at {stamp(int(stray[0]))}")
    values = np.stack([table[name].to_numpy() for name in features], 1)
    found, doubtful = find_sentinels(values, ())
    odd += [doubt(number, counts, features) for number, counts in doubtful.items()]
    for number, counts in found.items():
        where = ", ".join(repr(n) for n, count in zip(features, counts, strict=True) if count)
        odd.append(
            f"{number:g} is taken for a missing value, it is there {counted(int(counts.sum()), 'time')} in {where}, "
            "far outside of all others; --set sentinels=none takes it for a number"
        )
    shares = (np.isnan(values).sum(0) + sum(found.values())) / len(values)
    sparse = {n: share for n, share in zip(features, shares, strict=True) if share > 1 - PRESENT}
    if 0 < len(sparse) < len(features):
        shown = ", ".join(f"{name!r} ({share:.0%} missing)" for name, share in sparse.items())
        odd.append(f"columns left out of the features, mostly missing: {shown}")
        features = tuple(name for name in features if name not in sparse)
    return Times(
        column,
        "ISO 8601" if form == "iso" else FORM_NAMES.get(form, form),
        devices[0] if len(devices) == 1 else "",
        len(np.unique(groups)),
        seconds_of(step, unit),
        step_text(step, unit),
        int((distances > 1.5 * step).sum()) if step else 0,
        order.duplicates,
        bool((np.diff(times) >= 0).all()),
        features,
        tuple(found),
        tuple(odd),
    ), ""
