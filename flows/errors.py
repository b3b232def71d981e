"""What can go wrong through no fault of the program; the command line ends with code 2.

A message names the argument, the rule and the value, and where it is known the place.
"""

from collections.abc import Sequence


class FlowError(Exception):
    """Base of the errors that whoever started the job can put right."""


class InputError(FlowError):
    """An argument, a file or its content breaks a rule."""


class ArchiveError(InputError):
    """An archive holds what it must not hold, or lacks what it should."""


class ChecksumError(InputError):
    """A file is not the one that was asked for."""

    def __init__(self, file: str, expected: str, found: str) -> None:
        super().__init__(f"{file} must have the SHA-256 {expected}, found {found}")
        self.file, self.expected, self.found = file, expected, found

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.file, self.expected, self.found)


class RepeatedError(InputError):
    """Many time stamps are there again with other values; `stamps` says which."""

    def __init__(self, stamps: str, more: str = "") -> None:
        hint = "--group-column must name the column that tells the devices apart"
        super().__init__(f"{hint}{more}: {stamps}")
        self.stamps = stamps

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.stamps,)


class GateError(FlowError):
    """Data is past the limit of a rule, and whoever started the job wants it to end there."""

    def __init__(self, failed: Sequence[object]) -> None:
        reasons = "; ".join(map(str, failed))
        super().__init__(f"{reasons}. --limit RULE=WARNING,LIMIT moves a limit, --no-gate goes on")
        self.failed = failed

    def __reduce__(self) -> tuple[type, tuple[Sequence[object]]]:
        return type(self), (self.failed,)


class TransferError(FlowError):
    """A download broke off or the server did not answer; trying again may help."""


class WorkerError(FlowError):
    """Workers die of what they are given, or cannot be had."""
