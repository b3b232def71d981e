"""Data sets of reviews, one to a file; `DATASETS` lists those that have a name.

To add one: write `flows/datasets/<name>.py` with a `DATASET`, and list it here.
"""

from flows.datasets import imdb, sample
from flows.datasets.base import Dataset

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (sample.DATASET, imdb.DATASET)}
