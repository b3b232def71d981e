"""How good a model is, why it says what it says, and whether data is as it was: metrics, attribution, checks, drift."""

from rnnfast.evaluation.attribution import find_words, word_effects
from rnnfast.evaluation.checks import Check, Limits, check
from rnnfast.evaluation.drift import Drift, Histogram, Tally, drift
from rnnfast.evaluation.intervals import MarginTracker, TrackedIntervals, conformal_margins
from rnnfast.evaluation.metrics import ForecastErrors
from rnnfast.evaluation.profiles import Profile

__all__ = [
    "Check",
    "Drift",
    "ForecastErrors",
    "Histogram",
    "Limits",
    "MarginTracker",
    "Profile",
    "Tally",
    "TrackedIntervals",
    "check",
    "conformal_margins",
    "drift",
    "find_words",
    "word_effects",
]
