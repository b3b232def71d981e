"""Classifiers of token ids: the recurrent model, and the ideas that it is measured against.

Every model maps ids (N, L) int32 or int64 and lengths (N,) int64, as ``rnnfast.text.vocabulary.vectorize``
gives them, to outputs (N,), or (N, O) where there are several, as ``rnnfast.labels`` reads them: of two classes the
logit of the second, of more one for each, of tags likewise, of a number its distance from the mean in deviations. The
lengths are on the CPU, wherever ids and model are.

Dimensions: N batch, L tokens in a row, T steps (L, or the longest true length), E embedding,
H hidden, V vocabulary, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnfast.labels.classes import Classes
from rnnfast.labels.target import Target
from rnnfast.models.choices import TextCell
from rnnfast.models.config import ModelConfig
from rnnfast.models.ensembles import TextEnsemble
from rnnfast.models.language_config import LanguageConfig
from rnnfast.nn.layers import GRU, LSTM, RNN
from rnnfast.text.pairs import Pairs

_NO_PAIR = torch.iinfo(torch.int64).max
PAIR = Classes(names=("0", "1"))
"""Two classes, where nobody says what they are."""


def build_model(
    config: ModelConfig, vocabulary_size: int, seed: int = 0, outputs: int = 1
) -> nn.Module:
    """The untrained model: outputs (N,), or (N, O) where there are several, from ids (N, L) and lengths (N,).

    The same seed gives the same initial weights; torch's global random state is left as it was.
    Raises ValueError for a vocabulary_size below 3.
    """
    if vocabulary_size < 3:
        raise ValueError(f"vocabulary_size must be at least 3, got: {vocabulary_size}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.wide:
            return WideAndDeep(config, vocabulary_size, outputs)
        return _network(config, vocabulary_size, outputs)


def _network(config: ModelConfig, vocabulary_size: int, outputs: int) -> nn.Module:
    """The model without n-grams beside it, of all members."""
    model = _MODELS[config.cell]
    members = [model(config, vocabulary_size, outputs) for _ in range(config.members)]
    return members[0] if config.members == 1 else TextEnsemble(members)


def recurrent_layers(config: Any, input_size: int) -> RNN | GRU | LSTM:
    """The recurrent layers that a configuration of any model asks for, batch first."""
    layers: dict[str, Any] = {
        "rnn": partial(RNN, nonlinearity=config.nonlinearity),
        "gru": GRU,
        "lstm": LSTM,
    }
    result: RNN | GRU | LSTM = layers[config.cell](
        input_size,
        config.hidden_size,
        config.num_layers,
        batch_first=True,
        dropout=config.dropout if config.num_layers > 1 else 0.0,
        bidirectional=config.bidirectional,
    )
    return result


class WordVectors(nn.Embedding):
    """Ids (N, T) -> word vectors (N, T, E), with the noise that keeps training from learning by heart.

    In training, a share of the words becomes ``[UNK]``, and a share of the E channels is zero in
    all of a text's vectors. The vector of the padding is zero and stays so, unless it is read.
    """

    def __init__(self, config: ModelConfig | LanguageConfig, vocabulary_size: int) -> None:
        padding_id = None if config.read_padding else 1
        super().__init__(vocabulary_size, config.embedding_size, padding_idx=padding_id)
        self.word_dropout = config.word_dropout
        self.channel_dropout = config.channel_dropout
        with torch.no_grad():
            self.weight.mul_(config.embedding_scale)

    def forward(self, ids: Tensor) -> Tensor:
        if self.training and self.word_dropout:
            ids = _without_some(ids, self.word_dropout)
        vectors = super().forward(ids)
        if self.training and self.channel_dropout:
            channels = vectors.new_ones(len(ids), 1, vectors.shape[2])
            vectors = vectors * F.dropout(channels, self.channel_dropout)
        return vectors


class WordWeights(nn.Embedding):
    """Ids (N, T) and lengths (N,) -> what the words of each text add to its outputs, (N,) or (N, O).

    That is the sum of the weights of n words, over the square root of n: the spread of a sum of n
    independent weights, so that long texts do not outweigh what the recurrent layer says of them. The
    n words are all of the text, or with ``distinct_words`` each of them once.
    In training a share of the words becomes ``[UNK]``, not the same as those of ``WordVectors``. The
    weight of the padding is zero and stays so.
    """

    # 0.3 and 1 did no better on reviews of movies that were left out; no start at all did worse.
    START = 0.5

    def __init__(self, config: ModelConfig, vocabulary_size: int, outputs: int = 1) -> None:
        super().__init__(vocabulary_size, outputs, padding_idx=1)
        self.word_dropout, self.distinct = config.word_dropout, config.distinct_words
        nn.init.zeros_(self.weight)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        if self.training and self.word_dropout:
            ids = _without_some(ids, self.word_dropout)
        counts = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        if self.distinct:
            ids = ids.where(counts, -1).sort(1).values
            counts = (ids >= 0) & (ids != F.pad(ids, (1, 0), value=-1)[:, :-1])
            ids = ids.clamp(min=0)
        weights = super().forward(ids)
        sums = (weights * counts[:, :, None]).sum(1)
        return _few(sums / counts.sum(1, keepdim=True).to(weights.dtype).sqrt())

    @torch.no_grad()
    def start(self, texts: Iterable[tuple[Tensor, Tensor]], target: Target = PAIR) -> None:
        """Set the weights to ``START`` times what the words of training texts speak for.

        That is what ``target`` has as evidence: of two classes the log-count ratio of each word. From there few passes
        suffice even for rare words. [UNK] and padding start at zero.

        ``texts`` come in parts: ids (N, L), padded on either side, and their truth.
        """
        size = self.num_embeddings
        total = np.zeros(size)
        sums = np.zeros((target.outputs, size))
        for ids, truth in texts:
            rows, columns = torch.nonzero(ids > 1, as_tuple=True)
            held = (rows * size + ids[rows, columns]).unique()
            words, sides = (held % size).numpy(), target.sides(truth.numpy())[held // size]
            total += np.bincount(words, minlength=size)
            sums += [np.bincount(words, own, size) for own in sides.T]
        evidence = torch.from_numpy(target.evidence(sums, total).T)
        self.weight[2:] = self.START * evidence[2:].to(self.weight.dtype)


class RecurrentClassifier(nn.Module):
    """Embedding -> recurrent layers -> pooling over the true steps -> linear.

    With ``word_weights`` the logit is the sum of that and of ``WordWeights``: a linear model of the
    words, which learns at once what single words say, beside a network that learns what they say
    together, after the wide and deep parts of Cheng et al., "Wide & Deep Learning for Recommender
    Systems" (2016). With ``read_padding`` all L steps count as true ones.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, outputs: int = 1) -> None:
        super().__init__()
        self.config = config
        self.embedding = WordVectors(config, vocabulary_size)
        self.rnn = recurrent_layers(config, config.embedding_size)
        self.dropout = nn.Dropout(config.dropout)
        directions = 2 if config.bidirectional else 1
        pools = len(config.pooling.split("+"))
        self.head = nn.Linear(config.hidden_size * directions * pools, outputs)
        self.words = WordWeights(config, vocabulary_size, outputs) if config.word_weights else None

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        if self.config.read_padding:
            lengths = torch.full_like(lengths, ids.shape[1])
        else:
            ids = _without_padding(self, ids, lengths)
        output, last = self.rnn(self.embedding(ids), lengths=lengths)
        lengths = lengths.to(ids.device)
        h_n = last[0] if self.config.cell == "lstm" else last
        logits = _few(self.head(self.dropout(self._pool(output, h_n, lengths))))
        result: Tensor = logits if self.words is None else logits + self.words(ids, lengths)
        return result

    def _pool(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, D*H) outputs, zero past the lengths, and (layers*D, N, H) states -> features."""
        pooled = []
        for name in self.config.pooling.split("+"):
            if name == "last":
                directions = 2 if self.config.bidirectional else 1
                pooled.append(torch.cat(h_n[-directions:].unbind(), dim=1))
            elif name == "mean":
                pooled.append(output.sum(1) / lengths[:, None])
            else:
                pooled.append(_max_over_time(output, lengths))
        return torch.cat(pooled, dim=1)


class ConcatenatedMLP(nn.Module):
    """The word vectors of a text, one after the other, into one hidden layer.

    Each position has weights of its own, so nothing learned at one place helps at another.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, outputs: int = 1) -> None:
        super().__init__()
        self.config = config
        self.embedding = WordVectors(config, vocabulary_size)
        self.hidden = nn.Linear(config.sequence_length * config.embedding_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_size, outputs)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        features = torch.relu(self.hidden(self.embedding(ids).flatten(1)))
        return _few(self.head(self.dropout(features)))


class ConvolutionalClassifier(nn.Module):
    """One layer of filters over a window of words, the same at every step, and the maximum of each.

    After Kim, "Convolutional Neural Networks for Sentence Classification" (2014), with a single
    width of window and without pretrained word vectors.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, outputs: int = 1) -> None:
        super().__init__()
        self.config = config
        self.embedding = WordVectors(config, vocabulary_size)
        self.filters = nn.Conv1d(
            config.embedding_size, config.hidden_size, config.window, padding=config.window // 2
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_size, outputs)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        ids = _without_padding(self, ids, lengths)
        steps = self.filters(self.embedding(ids).transpose(1, 2)).transpose(1, 2)
        pooled = torch.relu(_max_over_time(steps, lengths.to(ids.device)))
        return _few(self.head(self.dropout(pooled)))


class NGrams(nn.Module):
    """A linear model of which words and pairs of neighbouring words a text holds, and with ``ngram_counts`` how often.

    A text is the set F of its features, words (id > 1) and known pairs of words; each output is
    ``sum_F(weight * scale * value) / sqrt(sum_F((scale * value)^2)) + bias``, on the CPU, without a gradient. The value
    is 1, or by counts 1 + ln(n) of what is there n times, so that a second time adds less than the first.
    ``rnnfast.training.loop.fit`` fits it by scikit-learn.

    Buffers: ``pairs`` (P,) int64, the known pairs as ``first * V + second`` in rising order, filled
    up with the largest int64; ``scale`` (V + P,), ``weight`` (V + P,) and ``bias`` () float32, the latter two
    (V + P, O) and (O,) where there are several outputs.
    """

    pairs: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, config: ModelConfig, vocabulary_size: int, outputs: int = 1) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        several = (outputs,) if outputs > 1 else ()
        size = vocabulary_size + config.max_pairs
        self.register_buffer("pairs", torch.full((config.max_pairs,), _NO_PAIR))
        self.register_buffer("scale", torch.zeros(size))
        self.register_buffer("weight", torch.zeros(size, *several))
        self.register_buffer("bias", torch.zeros(several))
        self._in_use: tuple[list[int], Pairs, Tensor] | None = None

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        pairs, weights = self._ready()
        starts = torch.arange(len(ids)) * ids.shape[1]
        if self.config.padding == "before":
            starts += ids.shape[1] - lengths
        texts = ids.contiguous(), starts, lengths.contiguous()
        sums = pairs.sum(*texts, weights, by_counts=self.config.ngram_counts)
        return _few(sums) + self.bias

    def know(self, pairs: Pairs) -> None:
        """Take pairs, at most ``max_pairs``, as the known ones."""
        self.pairs.fill_(_NO_PAIR)
        self.pairs[: len(pairs.keys)] = pairs.keys

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_in_use": None}  # without the kernel's table

    def _ready(self) -> tuple[Pairs, Tensor]:
        """The kernel's table, and what it adds up, (F, 2): made anew where a buffer has changed."""
        versions = [each._version for each in (self.pairs, self.scale, self.weight)]
        if self._in_use is None or self._in_use[0] != versions:
            pairs = Pairs(self.pairs[self.pairs != _NO_PAIR], self.vocabulary_size)
            scale, weight = self.scale[: len(pairs), None], self.weight[: len(pairs)]
            by_output = scale * weight.view(len(pairs), -1)
            self._in_use = versions, pairs, torch.cat([scale.square(), by_output], 1)
        return self._in_use[1:]


class WideAndDeep(nn.Module):
    """The weighted sum of the outputs of n-grams, the wide part, and of a recurrent model, the deep one.

    The wide part knows what words and pairs say by themselves, after a handful of texts; the deep part
    learns what words say together. After Cheng et al., "Wide & Deep Learning for Recommender
    Systems" (2016), but for one thing: each part is fitted by itself, and ``rnnfast.training.loop.fit``
    weighs them on rows that neither has seen, so that neither relies on what the other knows by heart.

    Buffer: ``shares`` (2 + O,) float32, the weights of the wide and of the deep outputs, and what is added to each.
    """

    shares: Tensor

    def __init__(self, config: ModelConfig, vocabulary_size: int, outputs: int = 1) -> None:
        super().__init__()
        self.config = config
        self.wide = NGrams(config, vocabulary_size, outputs)
        self.deep = _network(config, vocabulary_size, outputs)
        self.register_buffer("shares", torch.tensor([0.5, 0.5, *[0.0] * outputs]))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return self.weighed(self.wide(ids, lengths), self.deep(ids, lengths))

    def weighed(self, wide: Tensor, deep: Tensor) -> Tensor:
        """The outputs of the whole from those of the parts."""
        return self.shares[0] * wide + self.shares[1] * deep + self.shares[2:]


def _few(outputs: Tensor) -> Tensor:
    """Outputs (N, O) as the models give them: (N,) where there is one."""
    return outputs.squeeze(1) if outputs.shape[1] == 1 else outputs


def _without_some(ids: Tensor, share: float) -> Tensor:
    """Ids of the same shape, a random share of which is that of ``[UNK]``."""
    return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < share, 0)


def _without_padding(
    model: RecurrentClassifier | ConvolutionalClassifier, ids: Tensor, lengths: Tensor
) -> Tensor:
    """Ids (N, T) with each text at the start of its row, T the longest of the lengths.

    In training T is L: the rows may be a share of a batch in which others are longer, and the noise
    of the share has to be that of the batch.
    """
    steps = torch.arange(ids.shape[1] if model.training else int(lengths.max()), device=ids.device)
    if model.config.padding == "after":
        return ids[:, : len(steps)]
    lengths = lengths.to(ids.device)
    start = ids.shape[1] - lengths[:, None]
    return ids.gather(1, (start + steps) % ids.shape[1]).where(steps < lengths[:, None], 1)


def _max_over_time(steps: Tensor, lengths: Tensor) -> Tensor:
    """(N, T, C) -> (N, C), the maximum of each channel over a row's true steps."""
    padding = torch.arange(steps.shape[1], device=steps.device) >= lengths[:, None]
    # max() and not amax(): its gradient goes to one step and costs no pass over all of them.
    return steps.masked_fill(padding[:, :, None], -torch.inf).max(1).values


_MODELS: dict[TextCell, type[nn.Module]] = {
    "rnn": RecurrentClassifier,
    "gru": RecurrentClassifier,
    "lstm": RecurrentClassifier,
    "mlp": ConcatenatedMLP,
    "cnn": ConvolutionalClassifier,
    "ngrams": NGrams,
}
