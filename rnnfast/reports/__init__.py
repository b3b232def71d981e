"""Pages about a training, about a scoring, and about several trainings: one file each, without scripts."""

from rnnfast.reports.comparison import compare, write_comparison
from rnnfast.reports.scoring import Scoring, scoring_page
from rnnfast.reports.training import write_report

__all__ = ["Scoring", "compare", "scoring_page", "write_comparison", "write_report"]
