"""Which files of an input a run takes: by their date, and of what comes in, each content once."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from flows.parameters import FileSelection
from flows.store.ledger import Entry, Ledger
from flows.store.storage import File

_DATE = re.compile(r"(?<!\d)(\d{4})([-/])(\d\d)\2(\d\d)(?!\d)")


def between(files: list[File], selection: FileSelection) -> list[File]:
    """The files of the days that are selected, by the rule of `FileSelection`.

    Args:
        files: in any order, which is kept.
        selection: the days.
    """
    since, until = selection.since or date.min, selection.until or date.max
    if (since, until) == (date.min, date.max):
        return files
    return [file for file in files if since <= file_date(file) < until]


def file_date(file: File) -> date:
    """The date of a file, by the rule of `FileSelection`."""
    for year, _, month, day in reversed(_DATE.findall(file.place)):
        try:
            return date(int(year), int(month), int(day))
        except ValueError:  # such as 2026-13-01, which is none
            continue
    return datetime.fromtimestamp(file.modified / 1e9, UTC).date()


@dataclass
class Arrivals:
    """What there is of an input beside what was taken of it before.

    Attributes:
        taken: the files to take, whose content is new, as they are in the ledger.
        repeated: those whose content is there already, under this name or another one.
        replaced: names of files that have another content now than the one that was taken.
        waiting: those that may still be written to.
        failed: by name those that cannot be read, with the reason.
    """

    taken: list[tuple[File, Entry]] = field(default_factory=list)
    repeated: list[Entry] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    waiting: list[File] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def is_any(self) -> bool:
        """Whether anything is to be entered or said of them."""
        return bool(self.taken or self.repeated or self.replaced or self.failed)


def arrivals(files: list[File], ledger: Ledger, settle: float) -> Arrivals:
    """Tells new files from those that were there before, whatever their age.

    A file that is as it was seen last, by name, size and time, is not read; any other one is, for its digest.

    Args:
        files: sorted by path; of several with the same content the first is taken.
        ledger: what was taken before.
        settle: seconds that a file must have been left unmodified; one that is read meanwhile also waits.
    """
    found = Arrivals()
    present = list(_entries(files, ledger.seen, settle, found))
    for _, entry in present:
        taken = ledger.live.get(entry.name)
        if taken and taken.sha256 != entry.sha256:
            found.replaced.append(entry.name)
    live = {name: e.sha256 for name, e in ledger.live.items() if name not in found.replaced}
    there = set(live.values())
    for file, entry in present:
        if entry.sha256 not in there:
            there.add(entry.sha256)
            found.taken.append((file, entry))
        elif entry != ledger.seen.get(entry.name):
            found.repeated.append(entry)
    return found


def _entries(
    files: list[File],
    seen: Mapping[str, Entry],
    settle: float,
    found: Arrivals,
) -> Iterator[tuple[File, Entry]]:
    """The files that are whole, and what they are; the others are added to those that wait or that cannot be read."""
    now = time.time()
    for file in files:
        name = file.place
        before = seen.get(name)
        if before and (before.size, before.modified) == (file.size, file.modified):
            yield file, Entry(name, before.size, before.modified, before.sha256)
            continue
        # A time far ahead is that of a wrong clock, and says nothing.
        if abs(now - file.modified / 1e9) < settle:
            found.waiting.append(file)
            continue
        try:
            digest = file.sha256()
            is_unchanged = file.is_unchanged()
        except FileNotFoundError:
            continue
        except OSError as error:
            found.failed[name] = str(error)
            continue
        if is_unchanged:
            yield file, Entry(name, file.size, file.modified, digest)
        else:
            found.waiting.append(file)
