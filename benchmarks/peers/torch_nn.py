"""torch's own layers."""

import torch
from torch import nn

from benchmarks.cases import Case, Data
from benchmarks.peers import Contender, in_torch


def version() -> str:
    return torch.__version__


def takes(case: Case) -> bool:
    return True


def prepare(case: Case, data: Data) -> Contender:
    return in_torch.layer_contender(nn, case, data)
