"""A trained recurrent classifier in the form in which it scores fastest.

What a word adds to the sums of its time step is the same wherever it stands: the word vectors and W_ih
become one table, which the kernel behind ``rnnfast.nn.ops.pooled`` reads by the ids. It pools as it goes,
so there are no word vectors, no sequence of hidden states and nothing of either to pad or to sort.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnfast.models.texts import RecurrentClassifier
from rnnfast.nn import ops

LARGEST_TABLE = 1 << 30
"""Bytes of a table beyond which a model is not folded: a table is G*H / E times as large as the word vectors."""

_ALIGNMENT = 64  # bytes: each row of a table begins a cache line


class FoldedClassifier(nn.Module):
    """The outputs of a ``RecurrentClassifier`` in evaluation, (N,) or (N, O), from ids (N, L) and lengths (N,).

    It keeps a copy of the weights, has no gradient and runs on the CPU. A row's outputs are the same bit for
    bit whatever other rows there are and for any number of threads. With ``dtype`` bfloat16 the table and the recurrent
    weights are in that, and all that is summed, pooled and weighed in float32.
    """

    def __init__(self, model: RecurrentClassifier, dtype: torch.dtype | None = None) -> None:
        """Raises ValueError for a model that cannot be folded, with the reason."""
        super().__init__()
        if (reason := why_not(model)) is not None:
            raise ValueError(reason)
        config = model.config
        self.cell = f"rnn_{config.nonlinearity}" if config.cell == "rnn" else config.cell
        self.pooling = tuple(config.pooling.split("+"))
        self.padding_before = config.padding == "before"
        suffixes = ("", "_reverse") if config.bidirectional else ("",)
        self.directions = [_direction(model, suffix, dtype) for suffix in suffixes]
        self.weight = model.head.weight.detach().clone()
        self.bias = model.head.bias.detach().clone()
        self.words = None if model.words is None else model.words.weight.detach()[:, 0].clone()
        self.distinct_words = config.distinct_words

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        results = [
            ops.pooled(
                self.cell,
                ids,
                lengths,
                *weights,
                pooling=self.pooling,
                word_weights=None if number else self.words,
                distinct=self.distinct_words,
                padding_before=self.padding_before,
                reverse=number == 1,
            )
            for number, weights in enumerate(self.directions)
        ]
        # By pooling, then by direction, as the head has them. The words' sums are at the end of the first.
        pools = zip(*(each[: len(self.pooling)] for each in results), strict=True)
        features = torch.cat([each for directions in pools for each in directions], dim=1)
        # Not a matrix product, whose rounding depends on the number of rows.
        if len(self.weight) > 1:
            return torch.stack([(features * each).sum(1) for each in self.weight], 1) + self.bias
        logits = (features * self.weight).sum(1) + self.bias
        return logits if self.words is None else logits + results[0][-1]


def why_not(model: nn.Module) -> str | None:
    """The reason why a model cannot be folded, or None if it can."""
    if not isinstance(model, RecurrentClassifier):
        return f"model must be a RecurrentClassifier, got: {type(model).__name__}"
    config, vectors, layer = (
        model.config,
        model.embedding.weight,
        dict(model.rnn.named_parameters()),
    )
    if config.num_layers > 1:
        return f"num_layers must be 1, got: {config.num_layers}"
    if config.read_padding:
        return "read_padding must be false, got: true"
    if model.words is not None and model.words.embedding_dim > 1:
        return f"word_weights must be false for more outputs than one, got: {model.words.embedding_dim}"
    if set(config.pooling.split("+")) - set(ops.POOLINGS):
        return f"pooling must be of {', '.join(ops.POOLINGS)}, got: {config.pooling!r}"
    known = {"embedding.weight", "words.weight", "head.weight", "head.bias"}
    known |= {f"rnn.{name}" for name in layer}
    if more := sorted(set(model.state_dict()) - known):
        return f"model must have no weights beside those of the layer, the vectors and the head, got: {more[0]}"
    if vectors.device.type != "cpu" or vectors.dtype not in ops.COMPUTED_DTYPES:
        return (
            f"model must be float32 or float64 on the CPU, got: {vectors.dtype} on {vectors.device}"
        )
    size = len(vectors) * layer["bias_ih_l0"].numel() * vectors.element_size()
    if size > LARGEST_TABLE:
        return f"the table must be of {LARGEST_TABLE} bytes at most, got: {size}"
    return None


def _direction(
    model: RecurrentClassifier, suffix: str, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Table (V, G*H), W_hh (G*H, H) and b_hh (G*H,) of one direction."""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(model.rnn, f"{name}_l0{suffix}").detach()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    # In float64, so that each number is rounded once.
    sums = F.linear(model.embedding.weight.detach().double(), w_ih.double(), b_ih.double())
    dtype = dtype or w_ih.dtype
    table = F.pad(sums.to(dtype), (0, -sums.shape[1] % (_ALIGNMENT // dtype.itemsize)))
    return table[:, : sums.shape[1]], w_hh.to(dtype, copy=True), b_hh.to(dtype, copy=True)
