"""What every test shares: a fixed seed, and memory that is full of NaN until somebody writes it."""

import os
from collections.abc import Iterator

# Before torch is loaded. Where several tests share the cores, a thread that spins takes the time of those that it
# waits for: with two at a time the tests of the layers took three times as much of the CPU.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

# The files that take longest. Side by side they start first, so that none is left for the end, with nothing beside it.
LONGEST = (
    *("test_serving", "test_surroundings", "test_executors", "test_killed", "test_ending"),
    *("test_docs", "test_interrupt", "test_train", "test_sensors", "test_cli", "test_compilers"),
    *("test_cuda", "test_cuda_kernels", "test_build", "test_layers", "test_torch_samples"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; the rest keeps its order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(20_26)


@pytest.fixture
def nan_filled() -> Iterator[None]:
    """Has torch fill new tensors with NaN, so that an element that a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)
