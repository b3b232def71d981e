"""rnnfast's layers; rows of different length by `lengths`."""

from typing import Any

from torch import Tensor

import rnnfast
from benchmarks.cases import Case, Data
from benchmarks.peers import Contender, in_torch


def version() -> str:
    return rnnfast.__version__


def takes(case: Case) -> bool:
    return True


def prepare(case: Case, data: Data, **arguments: Any) -> Contender:
    layer = in_torch.layer(rnnfast, case, data, **arguments)
    input = data.input.clone()

    def forward() -> tuple[Tensor, ...]:
        output, state = layer(input, lengths=data.lengths)
        return output, *(last[0] for last in (state if case.cell == "LSTM" else (state,)))

    parameters = dict(zip(data.weights, layer.parameters(), strict=True))
    return in_torch.contender(case, forward, {"input": input, **parameters})
