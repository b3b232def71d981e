"""torch's own layers; rows of different length in a PackedSequence, whose packing is not timed."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from benchmarks.cases import Case, Data
from benchmarks.peers import Contender, in_torch


def version() -> str:
    return torch.__version__


def takes(case: Case) -> bool:
    return True


def prepare(case: Case, data: Data) -> Contender:
    if data.lengths is None:
        input = data.input.clone()
    else:
        packed = pack_padded_sequence(data.input, data.lengths, enforce_sorted=False)
        input = packed.data
    layer = in_torch.layer(nn, case, data)

    def like_packed(steps: Tensor) -> PackedSequence:
        return packed._replace(data=steps)

    def forward() -> tuple[Tensor, ...]:
        output, state = layer(input if data.lengths is None else like_packed(input))
        return (
            output if data.lengths is None else output.data,
            *(last[0] for last in (state if case.cell == "LSTM" else (state,))),
        )

    def padded(steps: Tensor) -> Tensor:
        if data.lengths is None:
            return steps
        return pad_packed_sequence(like_packed(steps), total_length=case.shape.steps)[0]

    parameters = dict(zip(data.weights, layer.parameters(), strict=True))
    return in_torch.contender(case, forward, {"input": input, **parameters}, padded)
