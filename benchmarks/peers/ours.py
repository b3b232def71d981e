"""rnnfast's layers."""

from typing import Any

import rnnfast
from benchmarks.cases import Case, Data
from benchmarks.peers import Contender, in_torch


def version() -> str:
    return rnnfast.__version__


def takes(case: Case) -> bool:
    return True


def prepare(case: Case, data: Data, **arguments: Any) -> Contender:
    return in_torch.layer_contender(rnnfast, case, data, **arguments)
