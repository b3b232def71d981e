"""A language model, which predicts each word from those before it, as the start of a classifier of texts.

After Dai and Le, "Semi-supervised Sequence Learning" (2015), and Howard and Ruder, "Universal Language Model
Fine-tuning for Text Classification" (2018).

Dimensions: B streams of text, T steps, E embedding, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from rnnfast.models.language_config import LanguageConfig
from rnnfast.models.next_word import NextWord
from rnnfast.models.texts import RecurrentClassifier, WideAndDeep, WordVectors, recurrent_layers

END = 1
"""The id that ends a text; classifiers have it for padding."""

_ROWS = 512  # of V logits in memory at a time


class LanguageModel(nn.Module):
    """Embedding -> recurrent layers -> ``NextWord``, which gives a logit for each word by the embedding again.

    Buffer: ``carried`` (B, layers, H), or (B, 2 * layers, H) of LSTM, the state in which the last window of each
    stream has ended.

    Example:
        >>> model = build_language_model(LanguageConfig(), vocabulary_size=100)
        >>> states, state = model(torch.zeros(2, 7, dtype=torch.int32), model.start_state(2))
        >>> states.shape, state.shape
        (torch.Size([2, 7, 128]), torch.Size([2, 1, 128]))
    """

    carried: Tensor

    def __init__(self, config: LanguageConfig, vocabulary_size: int, streams: int = 1) -> None:
        super().__init__()
        self.config = config
        self.embedding = WordVectors(config, vocabulary_size)
        self.rnn = recurrent_layers(config, config.embedding_size)
        self.output = NextWord(config.hidden_size, config.embedding_size, vocabulary_size)
        parts = config.num_layers * (2 if config.cell == "lstm" else 1)
        self.register_buffer("carried", torch.zeros(streams, parts, config.hidden_size))

    def start_state(self, streams: int) -> Tensor:
        """The state before the first word, as ``carried``."""
        return self.carried.new_zeros(streams, *self.carried.shape[1:])

    def forward(self, ids: Tensor, state: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        """The last layer's states (B, T, H) after each word, and the state after ids (B, T), as ``carried``.

        ``state`` is as ``carried``. ``seed`` chooses the recurrent weights that training drops.
        """
        parts = state.transpose(0, 1).contiguous()
        given: Any = parts.chunk(2) if self.config.cell == "lstm" else parts
        weights = self._dropped(seed) if self.training else {}
        output, last = functional_call(self.rnn, weights, (self.embedding(ids), given))
        after = torch.cat(last) if self.config.cell == "lstm" else last
        if self.training and self.config.dropout:
            channels = output.new_ones(len(ids), 1, output.shape[2])
            output = output * F.dropout(channels, self.config.dropout)
        return output, after.transpose(0, 1)

    def _dropped(self, seed: int) -> dict[str, Tensor]:
        """The recurrent weights without a share of them; after Merity et al., "AWD-LSTM" (2018)."""
        share = self.config.recurrent_dropout
        if not share:
            return {}
        draw = np.random.default_rng([seed, 1])
        found = {}
        for name, weight in self.rnn.named_parameters():
            if name.startswith("weight_hh"):
                kept = torch.from_numpy(draw.random(weight.shape, np.float32) >= share)
                found[name] = weight * (kept.to(weight.device) / (1 - share))
        return found

    def loss(self, ids: Tensor, streams: Tensor, seed: int) -> Tensor:
        """The mean loss () of predicting ids (B, 1:T + 1), by sampling, on from where the streams were.

        ``streams`` (B,) are their places in ``carried``, which moves on. All that is random but the noise of words
        and channels follows from ``seed``.
        """
        states, after = self(ids[:, :-1], self.carried[streams], seed)
        with torch.no_grad():
            self.carried[streams] = after.detach()
        loss: Tensor = self.output(
            states.flatten(0, 1),
            self.embedding.weight,
            ids[:, 1:].flatten(),
            self.config.candidates,
            seed,
        )
        return loss

    @torch.no_grad()
    def exact_loss(self, ids: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The sum () of -log p of ids (B, 1:T + 1) among all words, in float64, and the state after them."""
        states, after = self(ids[:, :-1], state)
        total = torch.zeros((), dtype=torch.float64)
        truth = ids[:, 1:].flatten().long()
        for rows, words in zip(states.flatten(0, 1).split(_ROWS), truth.split(_ROWS), strict=True):
            logits = self.output.logits(rows, self.embedding.weight)
            total += F.cross_entropy(logits, words, reduction="sum").double().cpu()
        return total, after

    @torch.no_grad()
    def sample(self, count: int, length: int, seed: int = 0) -> list[list[int]]:
        """``count`` texts of at most ``length`` words each, drawn word by word, without ``[UNK]``."""
        draw = torch.Generator().manual_seed(seed)
        state, words = self.start_state(count), torch.full((count, 1), END)
        texts: list[list[int]] = [[] for _ in range(count)]
        ended = [False] * count
        for _ in range(length):
            states, state = self(words, state)
            logits = self.output.logits(states[:, 0], self.embedding.weight)
            logits[:, 0] = -torch.inf
            words = torch.multinomial(logits.softmax(1), 1, generator=draw)
            for place, word in enumerate(words[:, 0].tolist()):
                ended[place] |= word == END
                if not ended[place]:
                    texts[place].append(word)
            if all(ended):
                break
        return texts


def build_language_model(
    config: LanguageConfig, vocabulary_size: int, seed: int = 0, streams: int = 1
) -> LanguageModel:
    """The untrained model; the same seed gives the same weights, and torch's random state is left as it was.

    Example:
        >>> build_language_model(LanguageConfig(hidden_size=8), vocabulary_size=100).output.bias.shape
        torch.Size([100])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(config, vocabulary_size, streams)


@torch.no_grad()
def start_from(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives a recurrent classifier the word vectors and recurrent layers of a language model.

    Args:
        model: with a recurrent part of the same sizes, and the same vocabulary.
        weights: the language model's, by name.

    Raises ValueError where there is no such part, or a size differs.
    """
    deep = model.deep if isinstance(model, WideAndDeep) else model
    if not isinstance(deep, RecurrentClassifier):
        raise ValueError(f"model must be a single recurrent one, got: {type(deep).__name__}")
    own = dict(deep.named_parameters())
    for name, value in weights.items():
        if not name.startswith(("embedding.", "rnn.")):
            continue
        if name not in own or own[name].shape != value.shape:
            found = tuple(own[name].shape) if name in own else "none"
            raise ValueError(f"{name} must have the shape {tuple(value.shape)}, got: {found}")
        own[name].copy_(value)
    if deep.embedding.padding_idx is not None:
        deep.embedding.weight[deep.embedding.padding_idx].zero_()
