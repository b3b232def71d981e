"""Which files were taken into an output folder, by which run, with which model.

The folder `runs` of an output folder has a file for each run, written up to three times: when the run has chosen its
files; when they are scored, then with the shards that each came to; and when their rows were judged and accepted. What
is scored, the shards' own records say; a run that was killed has left its first file and some shards, and the next run,
which finds its files new, does what is missing, after it has removed what it would not do so itself; when its own first
file is there, that of the killed one goes. When there are many, the files of runs that are done are merged into one.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any
from uuid import uuid4

from pydantic import StringConstraints, TypeAdapter

from flows.store.json_files import parsed
from flows.store.storage import Folder

LEDGER = "runs"
MOST_FILES = 64  # files that are not merged

# Both name files that are removed: what a stranger has put down must not lead out of the folder.
Key = Annotated[str, StringConstraints(pattern=r"^[^/]+$")]
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9]+-[0-9a-z]+$")]


@dataclass(frozen=True)
class Entry:
    """A file as it was seen.

    Attributes:
        name: its place below the folder of the input.
        size: bytes.
        modified: when it was modified last, in nanoseconds since 1970.
        sha256: of its bytes.
        shards: the keys of what it came to.
    """

    name: str
    size: int
    modified: int
    sha256: str
    shards: tuple[Key, ...] = ()


@dataclass(frozen=True)
class ScoringRun:
    """What a run has taken.

    Attributes:
        id: rises from run to run.
        at: when it began, in ISO 8601.
        model: the folder of its model.
        settings: all that decides the rows beside the input.
        done: whether all shards are there.
        files: those whose content was new.
        repeated: those whose content was taken before, or is that of another one.
        replaced: names of files whose earlier content no longer counts, since they have another one now.
        rows: written.
        rejected: rows that could not be used.
        accepted: whether its rows, and those of all runs before it but for `held`, were judged and no gate was closed.
        held: the ids of runs before it that it leaves as they are: their rows are of another model.
    """

    id: RunId
    at: str
    model: str
    settings: Any
    done: bool = False
    files: tuple[Entry, ...] = ()
    repeated: tuple[Entry, ...] = ()
    replaced: tuple[str, ...] = ()
    rows: int = 0
    rejected: int = 0
    accepted: bool = False
    held: tuple[str, ...] = ()

    @property
    def has_entries(self) -> bool:
        """Whether it has taken anything, or has changed what counts."""
        return bool(self.files or self.repeated or self.replaced)


_RUNS = TypeAdapter(dict[str, tuple[ScoringRun, ...]])


@dataclass
class Ledger:
    """The runs of an output folder, as they were read.

    Attributes:
        folder: of their files.
        done: the runs that are, in order.
        left: the runs that were killed.
        files: how many there are.
        live: by name the files whose content counts, as they were taken.
        seen: by name all files, as they were seen last, without their shards.
    """

    folder: Folder
    done: list[ScoringRun] = field(default_factory=list)
    left: list[ScoringRun] = field(default_factory=list)
    files: int = 0
    live: dict[str, Entry] = field(default_factory=dict)
    seen: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def of(cls, output: Folder) -> "Ledger":
        """The ledger of an output folder, which may have none.

        Raises:
            InputError: it has a file there that no run has written.
        """
        ledger = cls(output / LEDGER)
        runs: dict[str, ScoringRun] = {}
        for name in sorted(name for name in ledger.folder.sizes() if name.endswith(".json")):
            ledger.files += 1
            rule = f"{ledger.folder / name} must be the ledger of a run"
            for run in parsed(_RUNS, ledger.folder.read(name), rule).get("runs", ()):
                if run.done:
                    runs[run.id] = run
                else:
                    ledger.left.append(run)
        ledger.done = [runs[name] for name in sorted(runs)]
        for run in ledger.done:
            for name in run.replaced:
                ledger.live.pop(name, None)
            ledger.live |= {entry.name: entry for entry in run.files}
            for entry in (*run.files, *run.repeated):
                ledger.seen[entry.name] = replace(entry, shards=())
        return ledger

    @property
    def unaccepted(self) -> list[ScoringRun]:
        """The runs that are done, and that neither themselves nor a later one had accepted."""
        found: list[ScoringRun] = []
        for run in self.done:
            found.append(run)
            if run.accepted:
                found = [each for each in found if each.id in run.held]
        return found

    def next_id(self) -> str:
        """The name of a new run, which sorts after all others."""
        last = max((run.id for run in (*self.done, *self.left)), default="0-")
        return f"{int(last.partition('-')[0]) + 1:08}-{uuid4().hex[:8]}"

    def write(self, run: ScoringRun) -> None:
        """Puts down what a run has chosen, or that it is done."""
        self._write(_file(run), [run])

    def merge(self) -> None:
        """Makes one file of those of all runs that are done, where there are many."""
        if self.files <= MOST_FILES or not self.done:
            return
        merged = f"{self.done[-1].id}-merged.json"
        kept = {merged, *(_file(run) for run in self.left)}
        old = [name for name in self.folder.sizes() if name not in kept]
        self._write(merged, self.done)
        for name in old:
            self.folder.remove(name)

    def forget(self, runs: Iterable[ScoringRun]) -> None:
        """Removes what was put down of runs that are not done, when nothing is left of them or another has done it."""
        for run in runs:
            self.folder.remove(_file(run))
        self.folder.remove_if_empty()

    def _write(self, name: str, runs: Iterable[ScoringRun]) -> None:
        content = {"runs": [asdict(run) for run in runs]}
        self.folder.write(name, (json.dumps(content) + "\n").encode())


def _file(run: ScoringRun) -> str:
    return f"{run.id}.json"


def with_shards(entries: Iterable[Entry], shards: dict[str, list[str]]) -> tuple[Entry, ...]:
    """The files, each with the keys of its shards, by name."""
    return tuple(
        replace(entry, shards=tuple(sorted(shards.get(entry.name, ())))) for entry in entries
    )
