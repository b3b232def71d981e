"""What every test shares: a fixed seed, and memory that is full of NaN until somebody writes it."""

from collections.abc import Iterator

import pytest
import torch


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
