"""Texts to words, words to ids, and the counting of words."""

from rnnfast.text.reference import Padding, SplitBy
from rnnfast.text.vocabulary import Vocabulary, standardize, unspaced_share, vectorize
from rnnfast.text.word_counts import WordCounts

__all__ = [
    "Padding",
    "SplitBy",
    "Vocabulary",
    "WordCounts",
    "standardize",
    "unspaced_share",
    "vectorize",
]
