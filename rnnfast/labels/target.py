"""Any kind of label: a new one is a file beside this one, and a name here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from rnnfast.labels.classes import Classes
from rnnfast.labels.numbers import Numbers
from rnnfast.labels.tags import Tags

Target = Annotated[Classes | Numbers | Tags, Field(discriminator="task")]
"""What the label of a row is, as `config.json` has it."""


def classes_of(names: Sequence[str]) -> Classes:
    """The classes of these names, as runs of earlier versions have them."""
    return Classes(names=tuple(names))
