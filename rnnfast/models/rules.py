"""What the data decide where nobody else does: pure functions of facts about the training rows, of reviews.

Each is stated in docs/reviews.md. What a preset or a person sets is never changed by them.
"""

from __future__ import annotations

from typing import Any

STEPS = 1400
"""Steps of the optimizer that a training has at the least, where `MOST_EPOCHS` allow."""
LEAST_EPOCHS, MOST_EPOCHS = 4, 12
LEAST_BATCH, MOST_BATCH = 16, 64
MOST_WORDS = 2000


def training_of(rows: int) -> dict[str, Any]:
    """Batch size, epochs and patience for so many training rows, as fields of `TrainingSettings`.

    The batch is a power of two from `LEAST_BATCH` to `MOST_BATCH`, a sixty-fourth of the rows or the next one below.
    There are as many epochs as give `STEPS` steps, within bounds. A training stops where two thirds of them have passed
    without a lower loss on the validation rows: what depends on the order of words is often learned late.

    >>> training_of(450), training_of(22_500)
    ({'batch_size': 16, 'epochs': 12, 'patience': 8}, {'batch_size': 64, 'epochs': 4, 'patience': 3})
    """
    part = max(1, rows // 64)
    batch = max(LEAST_BATCH, min(MOST_BATCH, 1 << part.bit_length() - 1))
    epochs = max(LEAST_EPOCHS, min(MOST_EPOCHS, -(-STEPS * batch // rows)))
    return {"batch_size": batch, "epochs": epochs, "patience": -(-2 * epochs // 3)}


def sequence_length_of(words: int) -> int:
    """Words that are read of a text, where 99 in 100 texts have at most so many: these, up to `MOST_WORDS`.

    >>> sequence_length_of(907), sequence_length_of(30_000)
    (907, 2000)
    """
    return max(1, min(MOST_WORDS, words))
