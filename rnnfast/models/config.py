"""What a classifier of texts is: settings that need no torch.

A command looks at what it was given before it loads the libraries that take seconds.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rnnfast.models.choices import Cell
from rnnfast.text.reference import Padding, SplitBy

RECURRENT = ("rnn", "gru", "lstm")
Pooling = Literal["last", "mean", "max", "mean+max"]


class ModelConfig(BaseModel):
    """All that is needed to build a model, beside its vocabulary. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Cell = Field("rnn", description="The idea: rnn, gru, lstm, mlp, cnn or ngrams.")
    nonlinearity: Literal["tanh", "relu"] = Field("tanh", description="Of the cell rnn.")
    max_tokens: int = Field(20_000, ge=3, description="Vocabulary size with [UNK] and pad.")
    min_frequency: int = Field(1, ge=1, description="A known word occurs this often in training.")
    split_by: SplitBy = Field(
        "spaces",
        description="What parts words: spaces, or characters: in scripts without spaces each is a word.",
    )
    sequence_length: int = Field(600, ge=1, description="Tokens read of a text; the rest is cut.")
    padding: Padding = Field("after", description="Where a short text is padded: after, before.")
    read_padding: bool = Field(
        False, description="Whether padding is read as if it were text, by the recurrent model."
    )
    embedding_size: int = Field(128, ge=1, description="Size of a word vector.")
    embedding_scale: float = Field(
        0.1, gt=0, description="Standard deviation of the initial word vectors."
    )
    hidden_size: int = Field(
        128, ge=1, description="Size of a recurrent state or hidden layer; filters of the cnn."
    )
    num_layers: int = Field(1, ge=1, le=16, description="Recurrent layers.")
    bidirectional: bool = Field(False, description="Also read the text from its end.")
    pooling: Pooling = Field("mean+max", description="What of the recurrent states is classified.")
    word_weights: bool = Field(
        False, description="Whether each word of a recurrent model adds to the logit by itself."
    )
    distinct_words: bool = Field(
        False,
        description="Whether such a weight counts once in a text, however often the word is there.",
    )
    wide: bool = Field(
        False,
        description="Whether n-grams, fitted by themselves, are weighed against a recurrent model.",
    )
    window: int = Field(3, ge=1, description="Words that a filter of the cnn sees; odd.")
    max_pairs: int = Field(300_000, ge=1, description="Pairs of words that n-grams know.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout of features, in training.")
    word_dropout: float = Field(
        0.2, ge=0, lt=1, description="Share of the words that training replaces by [UNK]."
    )
    channel_dropout: float = Field(
        0.5, ge=0, lt=1, description="Dropout of whole channels of a text's vectors, in training."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ModelConfig:
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, got: {self.window}")
        for name in ("read_padding", "word_weights", "wide"):
            if getattr(self, name) and self.cell not in RECURRENT:
                raise ValueError(f"{name} must be false for cell {self.cell!r}, got: true")
        return self
