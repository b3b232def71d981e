"""Words and pairs of neighbouring words: which of them a text holds and how often, the features of a linear model.

Dimensions: N texts, V words, P known pairs, F = V + P features, K outputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnnfast import _text


class Pairs:
    """The known pairs of neighbouring words of a vocabulary.

    Feature w below V is word w, feature V + p the pair p. ``[UNK]`` and the padding are no words, and are in no pair.
    The value of a feature that a text holds n times is 1 + ln(n), or 1 where counts make no difference.

    Texts are given as ids int32 or int64 of any shape, contiguous, ``starts`` (N,) int64, where each text begins in
    ``ids.flatten()``, and ``lengths`` (N,) int64. Ids are from 0 to V - 1.

    Example:
        >>> ids, starts, lengths = torch.tensor([2, 3, 2, 3, 4]), torch.tensor([0, 2]), torch.tensor([2, 3])
        >>> pairs = Pairs.learn(ids, starts, lengths, words=5, most=1)
        >>> pairs.keys // 5, pairs.keys % 5  # the words 2 and 3
        (tensor([2]), tensor([3]))
        >>> [each.tolist() for each in pairs.find(ids, starts, lengths)]
        [[0, 3, 7], [2, 5, 3, 2, 5, 3, 4], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(self, keys: Tensor, words: int) -> None:
        """Take the keys (P,) int64 of distinct pairs; that of words a and b is ``a * words + b``."""
        self.keys, self.words = keys, words
        self._table = _text.Pairs(keys.numpy(), words)

    @classmethod
    def learn(cls, ids: Tensor, starts: Tensor, lengths: Tensor, *, words: int, most: int) -> Pairs:
        """Know the most frequent pairs of some texts, at most ``most``; of equal ones the lower key first."""
        keys = _text.frequent_pairs(ids.numpy(), starts.numpy(), lengths.numpy(), words, most)
        return cls(torch.from_numpy(keys), words)

    def __len__(self) -> int:
        """F, the number of features."""
        return self.words + len(self.keys)

    def find(
        self, ids: Tensor, starts: Tensor, lengths: Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The features of each text, each once, in the order in which they first occur.

        Returns where those of each text begin and the last ones end, (N + 1,) int64, the features, int32, and by their
        counts the value of each, float32.
        """
        return self._table.find(
            ids.numpy(), starts.numpy(), lengths.numpy(), torch.get_num_threads()
        )

    def sum(
        self,
        ids: Tensor,
        starts: Tensor,
        lengths: Tensor,
        weights: Tensor,
        *,
        by_counts: bool = False,
    ) -> Tensor:
        """Of each text the sums of its features' weights times their values, over their norm: (N, K) float32.

        ``weights`` (F, 1 + K) float32: of each feature its share of the norm's square, then K weights. Without
        ``by_counts`` each value is 1. A text without a feature gets 0. A row is the same bit for bit whatever other
        texts there are, and for any number of threads.
        """
        result = torch.empty(len(starts), weights.shape[1] - 1)
        self._table.sum(
            ids.numpy(),
            starts.numpy(),
            lengths.numpy(),
            weights.numpy(),
            by_counts,
            result.numpy(),
            torch.get_num_threads(),
        )
        return result
