"""What a classifier of texts is: settings that need no torch.

A command looks at what it was given before it loads the libraries that take seconds.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rnnfast.models.choices import TextCell
from rnnfast.text.reference import Padding, SplitBy

RECURRENT = ("rnn", "gru", "lstm")
Pooling = Literal["last", "mean", "max", "mean+max"]


class ModelConfig(BaseModel):
    """All that is needed to build a model, beside its vocabulary. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: TextCell = Field(
        "rnn", description="The kind of model: rnn, gru, lstm, mlp, cnn or ngrams."
    )
    nonlinearity: Literal["tanh", "relu"] = Field(
        "tanh", description="The nonlinearity of the cell rnn: tanh or relu."
    )
    max_tokens: int = Field(
        20_000, ge=3, description="The size of the vocabulary, [UNK] and pad included."
    )
    min_frequency: int = Field(
        1, ge=1, description="How often a word must occur in the training texts to be known."
    )
    split_by: SplitBy = Field(
        "spaces",
        description="What separates words: spaces, or characters for scripts without spaces, where each is a word.",
    )
    sequence_length: int = Field(
        600, ge=1, le=1 << 20, description="How many words of a text are read; the rest is cut off."
    )
    padding: Padding = Field(
        "after", description="Where a short text is padded: after or before it."
    )
    read_padding: bool = Field(
        False, description="Whether a recurrent model reads the padding as if it were text."
    )
    embedding_size: int = Field(128, ge=1, description="The size of a word vector.")
    embedding_scale: float = Field(
        0.1, gt=0, description="The standard deviation of the initial word vectors."
    )
    hidden_size: int = Field(
        128,
        ge=1,
        description="The size of a recurrent state or hidden layer, or how many filters the cnn has.",
    )
    num_layers: int = Field(1, ge=1, le=16, description="How many recurrent layers are stacked.")
    bidirectional: bool = Field(False, description="Whether the text is also read from its end.")
    pooling: Pooling = Field(
        "mean+max",
        description="Which of the recurrent states are classified: last, mean, max, or mean+max for both.",
    )
    word_weights: bool = Field(
        False,
        description="Whether in a recurrent model each word also adds to the logit by itself.",
    )
    distinct_words: bool = Field(
        False,
        description="Whether a word's weight counts once in a text, however often the word is there.",
    )
    wide: bool = Field(
        False,
        description="Whether n-grams, fitted by themselves, are weighed against a recurrent model.",
    )
    window: int = Field(
        3, ge=1, description="How many words a filter of the cnn sees; an odd number."
    )
    max_pairs: int = Field(
        300_000, ge=1, description="How many pairs of words n-grams know at the most."
    )
    ngram_counts: bool = Field(
        False,
        description="Whether n-grams read how often a text has a word or pair, not only whether it has it.",
    )
    dropout: float = Field(
        0.5, ge=0, lt=1, description="The share of features that training drops, from 0 to 1."
    )
    word_dropout: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="The share of words, from 0 to 1, that training replaces by [UNK].",
    )
    channel_dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="The share of whole channels of a text's vectors that training drops, from 0 to 1.",
    )
    members: int = Field(
        1, ge=1, description="How many models, trained by themselves, are averaged."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ModelConfig:
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, got: {self.window}")
        for name in ("read_padding", "word_weights", "wide"):
            if getattr(self, name) and self.cell not in RECURRENT:
                raise ValueError(f"{name} must be false for cell {self.cell!r}, got: true")
        if self.ngram_counts and not (self.wide or self.cell == "ngrams"):
            raise ValueError(f"ngram_counts must be false for cell {self.cell!r} alone, got: true")
        return self
