"""What a language model is: settings that need no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rnnfast.models.choices import LanguageCell
from rnnfast.text.reference import SplitBy


class LanguageConfig(BaseModel):
    """All that is needed to build a language model, beside its vocabulary. Immutable; unknown names fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: LanguageCell = Field("gru", description="The recurrent layer: rnn, gru or lstm.")
    nonlinearity: Literal["tanh", "relu"] = Field(
        "tanh", description="The nonlinearity of the cell rnn: tanh or relu."
    )
    max_tokens: int = Field(
        20_000, ge=3, description="The size of the vocabulary, [UNK] and end of text included."
    )
    min_frequency: int = Field(
        1, ge=1, description="How often a word must occur in the texts to be known."
    )
    split_by: SplitBy = Field(
        "spaces",
        description="What separates words: spaces, or characters for scripts without spaces, where each is a word.",
    )
    embedding_size: int = Field(
        128, ge=1, description="The size of a word vector, which the output layer shares."
    )
    embedding_scale: float = Field(
        0.1, gt=0, description="The standard deviation of the initial word vectors."
    )
    hidden_size: int = Field(128, ge=1, description="The size of a recurrent state.")
    num_layers: int = Field(1, ge=1, le=16, description="How many recurrent layers are stacked.")
    window: int = Field(
        64, ge=2, le=1 << 14, description="Over how many words gradients are propagated back."
    )
    candidates: int = Field(
        1024,
        ge=2,
        description="Words that training compares each true word with: half are the most frequent, half are sampled.",
    )
    dropout: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="The share of output channels that training drops, the same over a window.",
    )
    word_dropout: float = Field(
        0.0, ge=0, lt=1, description="The share of words that training replaces by [UNK]."
    )
    channel_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="The share of channels of the word vectors that training drops, the same over a window.",
    )
    recurrent_dropout: float = Field(
        0.1, ge=0, lt=1, description="The share of recurrent weights that training drops."
    )

    # What the layers of every model ask for, and a language model has no choice of.
    @property
    def bidirectional(self) -> bool:
        """Never: a word is predicted from those before it."""
        return False

    @property
    def read_padding(self) -> bool:
        """Always: the id of the padding is the end of a text here, which has a vector of its own."""
        return True
