"""What became of each row that a job read: the last lines of every run, and the same as numbers."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flows.wording import counted

REJECTED_FOR = "rejected: "  # before a reason, among what is counted of rows
_SHARED = {"readings_merged": "closer to the one before than a step",
           "duplicates_dropped": "with the time stamp of another one"}  # fmt: skip


_UNUSED = {"readings_without_a_value": "without a value for every channel",
           "readings_in_no_window": "in no window: too short a stretch between gaps, or no label"}  # fmt: skip
_DONE = {"train": "trained", "validation": "validated", "test": "tested"}


class Rejected(NamedTuple):
    """A row that cannot be used: its place in the file, counted from 1, and the reason."""

    place: int
    reason: str


@dataclass(frozen=True)
class Account:
    """The rows that were read, each of them in exactly one of the other counts.

    Attributes:
        read: all of them.
        used: what they were used for, such as "scored" or "trained on", and how many.
        rejected: why rows could not be used, and how many.
        left_out: why rows were not used, and how many.
        noun: what a row is called.
        notes: sentences about what came of the rows.
    """

    read: int
    used: Mapping[str, int]
    rejected: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    noun: str = "row"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError where the counts do not add up to the rows that were read."""
        parts = (self.used, self.rejected, self.left_out)
        total = sum(sum(part.values()) for part in parts)
        if total != self.read or min((n for part in parts for n in part.values()), default=0) < 0:
            raise ValueError(f"counts must add up to the {self.read} rows read, got {parts}")

    def lines(self) -> list[str]:
        """The account in sentences."""
        used = ", ".join(f"{what} {count:,}" for what, count in self.used.items())
        rejected, left_out = sum(self.rejected.values()), sum(self.left_out.values())
        read = counted(self.read, self.noun)
        return [
            f"Read {read}: {used}, rejected {rejected:,}, left out {left_out:,}",
            *_reasons("Rejected", self.rejected, self.noun),
            *_reasons("Left out", self.left_out, self.noun),
            *self.notes,
        ]

    def as_json(self) -> dict[str, Any]:
        """The account as numbers."""
        return {
            "read": self.read,
            **{what.replace(" ", "_"): count for what, count in self.used.items()},
            "rejected": sum(self.rejected.values()),
            "left_out": sum(self.left_out.values()),
            "why_rejected": {why: count for why, count in self.rejected.items() if count},
            "why_left_out": {why: count for why, count in self.left_out.items() if count},
        }


def count_rejected(reasons: Iterable[str]) -> Counter[str]:
    """How many rows were rejected for each kind of reason, by names that begin with REJECTED_FOR."""
    return Counter(REJECTED_FOR + reason_kind(reason) for reason in reasons)


def reason_kind(reason: str) -> str:
    """A reason without what is of one row alone, such as the value that it names."""
    if re.match(r"[\d,]+ fields? expected", reason):
        return "too few or too many fields"
    if re.fullmatch(r"the text is .*, not a string", reason, re.DOTALL):
        return "the text is not a string"
    return re.split(r": |, got | \(byte ", reason, maxsplit=1)[0]


def account_of_training(rows: Mapping[str, Any]) -> Account:
    """The account of a training, from the counts of its rows."""
    windows = [(part, rows.get(f"{part}_windows")) for part in ("train", "validation", "test")]
    if "readings" in rows:
        left_out = {why: rows.get(name, 0) for name, why in (_SHARED | _UNUSED).items()}
        used = {f"{what} on": rows.get(f"{part}_readings", 0) for part, what in _DONE.items()}
        if "train_readings" not in rows:  # a run of an earlier version
            used = {"used": rows["readings"] - sum(left_out.values())}
        shown = ", ".join(f"{n or 0:,} for {_PURPOSES[part]}" for part, n in windows)
        notes = [f"Windows of these readings: {shown}"]
        if unlabelled := rows.get("unlabelled_readings"):
            notes.append(
                f"No label: {counted(unlabelled, 'reading')}; windows with labels hold none of them"
            )
        return Account(rows["readings"], used, {}, left_out, "reading", tuple(notes))
    used_for = {f"{what} on": rows[f"{part}_rows"] for part, what in _DONE.items()}
    unlabelled = rows.get("unlabelled_rows", 0)
    return Account(
        sum(used_for.values()) + unlabelled, used_for, {}, {"without a label": unlabelled}
    )


_PURPOSES = {"train": "training", "validation": "validation", "test": "testing"}


def account_of_scoring(
    input_rows: int, rows: int, rejected: int, counts: Mapping[str, int]
) -> Account:
    """The account of a scoring.

    Args:
        input_rows: of all shards.
        rows: of scores.
        rejected: rows of the input that could not be used.
        counts: that were made of the rows: of readings those of `count_report`, of all the reasons by `count_rejected`.
    """
    # In the order of their names: workers count in any order, and the folder's bytes must not depend on it.
    rejected_for = sorted(key for key in counts if key.startswith(REJECTED_FOR))
    why = {key.removeprefix(REJECTED_FOR): counts[key] for key in rejected_for}
    if (unknown := rejected - sum(why.values())) > 0:  # of shards that an earlier version wrote
        why["for reasons that are in the folder rejected"] = unknown
    if "readings" not in counts:
        read = max(input_rows, rows + rejected)
        return Account(read, {"scored": rows}, why, {"without content": read - rows - rejected})
    left_out = {_SHARED["readings_merged"]: counts.get("merged", 0),
                _SHARED["duplicates_dropped"]: counts.get("duplicates", 0)}  # fmt: skip
    read = counts["readings"] + rejected
    used = counts["readings"] - sum(left_out.values())
    notes = [f"Wrote {counted(rows, 'row')} of scores"]
    if "forecast" in counts and (without := counts.get("devices", 0) - counts["forecast"]):
        notes.append(
            f"No forecast after the last reading of {counted(without, 'device')}: too few readings since the last gap"
        )
    return Account(read, {"used": used}, why, left_out, "reading", tuple(notes))


def _reasons(what: str, reasons: Mapping[str, int], noun: str) -> list[str]:
    found = [
        f"{counted(count, noun)}: {why}" if what == "Rejected" else f"{counted(count, noun)} {why}"
        for why, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        if count
    ]
    return [f"{what}: {'; '.join(found)}"] if found else []
