"""Series of readings: put in order, on a regular grid, in windows, split and scaled."""

from rnnfast.series.calendar import calendar_features
from rnnfast.series.grid import Regular, regular
from rnnfast.series.order import Order, in_order
from rnnfast.series.scaling import Scaler
from rnnfast.series.seasons import Season, find_seasons
from rnnfast.series.splits import by_group, chronological
from rnnfast.series.windows import Windows, cut_runs, find_runs, windows

__all__ = [
    "Order",
    "Regular",
    "Scaler",
    "Season",
    "Windows",
    "by_group",
    "calendar_features",
    "chronological",
    "cut_runs",
    "find_runs",
    "find_seasons",
    "in_order",
    "regular",
    "windows",
]
