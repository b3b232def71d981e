"""Data sets, one to a file; those that have a name are in `DATASETS` and, of sensors, in `SENSORS`.

To add one: write `flows/datasets/<name>.py` with a `DATASET`, and list it here.
"""

from flows.datasets import ett, hapt, imdb, sample, sensor_sample, szeged
from flows.datasets.base import Dataset, SensorDataset

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (sample.DATASET, imdb.DATASET)}
SENSORS: dict[str, SensorDataset] = {
    dataset.name: dataset
    for dataset in (sensor_sample.DATASET, szeged.DATASET, ett.ETTM1, ett.ETTH1, hapt.DATASET)
}
