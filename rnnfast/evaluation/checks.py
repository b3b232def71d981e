"""What data must be like: rules with two limits each, one that warns and one that fails.

A rule that is past its warning is said; one that is past its limit closes the gate, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Status = Literal["passed", "warning", "failed"]
AT_LEAST = (
    "label_share",
    "class_rows",
)  # the rules whose values must not be below; all others must not be above

# What a rule means that is not kept, and what to do, where its name does not say so.
ADVICE = {
    "unknown": "these words are not in the vocabulary. Train on texts of the same language; for a script without "
    "spaces between words, such as Chinese, Japanese or Thai, train with --split-by characters",
    "class_rows": "of so few rows little can be learned. Give more of them, join labels, or leave these out",
    "beaten": "what stands beside the model is better. Train with --cell auto, or with the cell that is better",
    "psi": "what the model reads or says is not as it was in training. Expect more errors than on the test rows, and "
    "train again",
    "errors": "forecasts are further from the truth than they were. Train again, with the newest readings",
    "level": "the readings are not as in training, but that does no harm: forecasts start from the last reading, or "
    "their errors are as they were",
}


class Bounds(NamedTuple):
    """The values from which a rule warns, and from which it fails; None: never."""

    warn: float | None
    fail: float | None


def _bounds(value: object) -> object:
    """Bounds as the command line has them: "0.1,0.25", "0.1" to warn alone, "off" for neither."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    numbers = [None if part == "off" else part for part in parts]
    return (*numbers, None)[:2] if len(numbers) < 2 else tuple(numbers)


Limit = Annotated[Bounds, BeforeValidator(_bounds)]


class Limits(BaseModel):
    """The rules. Each has the value from which it warns and the one from which it fails."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_share: Limit = Field(
        Bounds(0.05, 0.005),
        description="Least share of the rows that have the rarest label, where there are two.",
    )
    class_rows: Limit = Field(
        Bounds(20, None),
        description="Least number of training rows of a class or tag, where there are more than two.",
    )
    unknown: Limit = Field(
        Bounds(0.2, 0.5), description="Share of the words that are not in the vocabulary."
    )
    blank: Limit = Field(Bounds(0.01, 0.5), description="Share of the texts without a word.")
    cut: Limit = Field(
        Bounds(0.25, None), description="Share of the texts as long as the model reads, or longer."
    )
    duplicates: Limit = Field(
        Bounds(0.05, None), description="Share of the test rows whose text is trained on as well."
    )
    missing: Limit = Field(
        Bounds(0.05, 0.5), description="Share of a channel's readings that are missing."
    )
    left_out: Limit = Field(
        Bounds(0.5, None), description="Share of the steps of the grid that no window can cover."
    )
    merged: Limit = Field(
        Bounds(0.5, None), description="Share of the readings that are closer than a step."
    )
    short: Limit = Field(
        Bounds(0.05, 0.5),
        description="Share of the devices with too few readings since their last gap to forecast.",
    )
    outlying: Limit = Field(
        Bounds(0.01, None), description="Share of a channel six deviations or more off its mean."
    )
    rejected: Limit = Field(Bounds(0.01, 0.5), description="Share of the rows not to be scored.")
    outside: Limit = Field(
        Bounds(0.01, None), description="Share of the rows beyond the range of the training rows."
    )
    beaten: Limit = Field(
        Bounds(0.0, None),
        description="By which share a model's error is above that of what stands beside it, where that is more than "
        "chance: on the test rows, and of windows on the validation windows.",
    )
    psi: Limit = Field(
        Bounds(0.1, 0.25), description="Population stability index of a feature or of the scores."
    )
    errors: Limit = Field(
        Bounds(1.5, 3.0),
        description="What nine of ten errors stay below, where the truth is known, over that of validation.",
    )
    level: Limit = Field(
        Bounds(0.25, None),
        description="As psi, where it does no harm: forecasts start from that level, or err as they did.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Limits:
        for name in type(self).model_fields:
            warn, fail = getattr(self, name)
            if warn is None or fail is None:
                continue
            if (fail > warn) if name in AT_LEAST else (fail < warn):
                side = "below" if name in AT_LEAST else "above"
                raise ValueError(f"{name} must fail {side} where it warns, got: {warn:g},{fail:g}")
        return self


USUAL = Limits()


class Check(NamedTuple):
    """A rule that was looked at: the rule, of what, its value, the limits, and how it ended."""

    rule: str
    of: str
    value: float
    warn: float | None
    fail: float | None
    status: Status

    def __str__(self) -> str:
        side = "least" if self.rule in AT_LEAST else "most"
        bounds = ("warning", self.warn), ("limit", self.fail)
        told = ", ".join(f"{name} {value:g}" for name, value in bounds if value is not None)
        shown = f"{self.rule} of {self.of} is {self.value:.4g} (at {side}: {told or 'anything'})"
        advice = ADVICE.get(self.rule) if self.status != "passed" else None
        return f"{shown}: {advice}" if advice else shown


def check(limits: Limits, rule: str, of: str, value: float, *, can_fail: bool = True) -> Check:
    """Holds a value against its rule.

    Args:
        limits: has the rule.
        rule: name of a field of `limits`.
        of: what the value is of, in words.
        value: to be judged.
        can_fail: whether there are rows enough to fail by; else what would fail warns.

    Example:
        >>> check(Limits(), "psi", "words", 0.3).status
        'failed'
        >>> check(Limits(), "psi", "words", 0.3, can_fail=False).status
        'warning'
    """
    warn, fail = getattr(limits, rule)
    if not can_fail:
        warn, fail = (fail if warn is None else warn), None

    def past(bound: float | None) -> bool:
        if bound is None:
            return False
        return value < bound if rule in AT_LEAST else value > bound

    status: Status = "failed" if past(fail) else "warning" if past(warn) else "passed"
    return Check(rule, of, value, warn, fail, status)


def worst(checks: Iterable[Check]) -> Status:
    """How the worst of some checks ended."""
    found = {each.status for each in checks}
    return "failed" if "failed" in found else "warning" if "warning" in found else "passed"


def as_json(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Checks as JSON has them."""
    return [each._asdict() for each in checks]
