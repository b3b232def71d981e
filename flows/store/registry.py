"""Models by name: their versions, and which of them is in production.

A registry is a folder of this machine. For each model it holds

- `<name>/<version>/`, the folder of a run as training left it, and in it `version.json`, its lineage: neither changes
  once it is there;
- `<name>/production.json`, which says what is in production, and how each version that was there came to it or why it
  was kept from it.

A version comes into being by the renaming of a folder that is whole and on the disk, and `production.json` changes by
that of a file. So whenever a process is killed, either the old version is in production or the new one. Those that
write take the lock of the model's folder; whatever is half-made is then nobody's, and goes. Those that read take none.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter

from flows.errors import InputError
from flows.store.json_files import parsed
from flows.store.locks import locked
from flows.store.storage import Folder, to_disk
from rnnfast.training.run_folder import CONFIG

PRODUCTION, RECORD = "production.json", "version.json"
ANY = -1  # whatever is in production

logger = logging.getLogger(__name__)

VersionStatus = Literal["candidate", "production", "retired"]


@dataclass(frozen=True)
class Promotion:
    """How a version came into production.

    Attributes:
        version: its number.
        at: when, in ISO 8601.
        reason: why.
        replaced: the version that was there before.
        back: whether it was a return to a version that had been there.
    """

    version: int
    at: str
    reason: str
    replaced: int | None
    back: bool = False


@dataclass(frozen=True)
class Registered:
    """What became of a registration: the version, its status, why it is that, and whether it came into production."""

    name: str
    version: int
    status: VersionStatus
    reason: str
    promoted: bool = False


@dataclass(frozen=True)
class Standing:
    """The content of `production.json`: the promotions in order, and why versions were kept from it."""

    promotions: list[Promotion] = field(default_factory=list)
    kept_back: dict[int, str] = field(default_factory=dict)

    @property
    def production(self) -> int | None:
        """The number of the version in production."""
        return self.promotions[-1].version if self.promotions else None

    @property
    def before(self) -> list[int]:
        """Those in whose place it came, the last one last: where a way back leads."""
        stack: list[int] = []
        for each in self.promotions:
            while each.back and stack and stack[-1] != each.version:
                stack.pop()
            if stack[-1:] != [each.version]:
                stack.append(each.version)
        return stack[:-1]

    def status(self, number: int) -> VersionStatus:
        """What a version is at present."""
        if number == self.production:
            return "production"
        return "retired" if any(p.version == number for p in self.promotions) else "candidate"

    def reason(self, number: int) -> str:
        """Why it is that."""
        of_version = [p.reason for p in self.promotions if p.version == number]
        if of_version:
            return of_version[-1]
        return self.kept_back.get(number, "not compared yet: its registration was interrupted")


class _Lineage(BaseModel, extra="allow"):
    """What is read of a lineage; whatever else it has, it keeps."""

    digest: str
    registered: str = ""
    metrics: dict[str, float] = {}


class _Kept(BaseModel):
    """The content of `production.json`."""

    promotions: list[Promotion]
    kept_back: dict[int, str]


_LINEAGE, _KEPT = TypeAdapter(_Lineage), TypeAdapter(_Kept)


@dataclass(frozen=True)
class Model:
    """A model of a registry, by its name.

    Attributes:
        folder: of all its versions; it need not exist.
    """

    folder: Path

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.name

    def path(self, number: int) -> Path:
        """The folder of a version."""
        return self.folder / str(number)

    def numbers(self) -> list[int]:
        """The versions that there are, in the order in which they came.

        A folder of data may have such names too, those of years, but no lineage in it.
        """
        return [number for number in self._taken() if (self.path(number) / RECORD).is_file()]

    def record(self, number: int) -> dict[str, Any]:
        """The lineage of a version.

        Raises:
            InputError: there is no such version, or its lineage is none.
        """
        try:
            content = (self.path(number) / RECORD).read_bytes()
        except FileNotFoundError:
            known = ", ".join(map(str, self.numbers())) or "none"
            raise InputError(
                f"VERSION must be one of {self.name!r}, which has {known}; got: {number}"
            ) from None
        rule = f"{self.path(number) / RECORD} must be the lineage of a version"
        return parsed(_LINEAGE, content, rule).model_dump(exclude_unset=True)

    def standing(self) -> Standing:
        """What is in production, and what was.

        Raises:
            InputError: somebody else has written the file that says it.
        """
        try:
            content = (self.folder / PRODUCTION).read_bytes()
        except FileNotFoundError:
            return Standing()
        rule = f"{self.folder / PRODUCTION} must be what the registry wrote"
        kept = parsed(_KEPT, content, rule)
        return Standing(kept.promotions, kept.kept_back)

    def find(self, digest: str) -> int | None:
        """The version whose model has this digest."""
        same = (n for n in self.numbers() if self.record(n)["digest"] == digest)
        return next(same, None)

    def add(self, run: Path, record: Mapping[str, Any], leave_out: str) -> int:
        """Makes a version of the folder of a run, unless there is one of the same digest; returns its number.

        Args:
            run: the folder, which is copied.
            record: the lineage, with the `digest` of the model.
            leave_out: what is in the folder and not a part of it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder):
            self._sweep()
            known = self.find(record["digest"])
            if known is not None:
                return known
            standing = self.standing()
            used = [0, *self._taken(), *(p.version for p in standing.promotions)]
            number = max(*used, *standing.kept_back, 0) + 1
            partial = self._partial()
            shutil.copytree(run, partial, ignore=shutil.ignore_patterns(leave_out))
            content = json.dumps(record, indent=2) + "\n"
            (partial / RECORD).write_text(content, encoding="utf-8")
            for folder, _, names in os.walk(partial):
                for name in names:
                    to_disk(Path(folder, name))
                to_disk(Path(folder))
            partial.rename(self.path(number))
            to_disk(self.folder)
        return number

    def promote(
        self, number: int, reason: str, instead_of: int | None = ANY, *, back: bool = False
    ) -> bool:
        """Puts a version into production, and returns whether it did.

        Args:
            number: the version.
            reason: why, for people to read.
            instead_of: nothing is done where another version is in production, or one where this is None.
            back: see `Promotion`.

        Raises:
            InputError: there is no such version.
        """
        self.record(number)
        with locked(self.folder):
            self._sweep()
            self.record(number)
            standing = self.standing()
            if number == standing.production or instead_of not in (ANY, standing.production):
                return False
            promotion = Promotion(number, now(), reason, standing.production, back)
            kept_back = {n: why for n, why in standing.kept_back.items() if n != number}
            self._write(Standing([*standing.promotions, promotion], kept_back))
        return True

    def keep_back(self, number: int, reason: str) -> None:
        """Says why a version is not promoted."""
        with locked(self.folder):
            standing = self.standing()
            self._write(Standing(standing.promotions, standing.kept_back | {number: reason}))

    def way_back(self) -> int | None:
        """The version that a return from the one in production leads to, if there is one."""
        standing, numbers = self.standing(), self.numbers()
        left = [n for n in standing.before if n in numbers and n != standing.production]
        return left[-1] if left else None

    def kept(self, last: int) -> set[int]:
        """The versions that are not to be removed: the last ones, that in production, and the way back."""
        needed = {self.standing().production, self.way_back()}
        return set(self.numbers()[-last:]) | {n for n in needed if n is not None}

    def remove(self, number: int, last: int) -> bool:
        """Removes a version, unless it is gone, in use, or among those to keep; returns whether it did."""
        with locked(self.folder):
            self._sweep()
            if number in self.kept(last) or number not in self.numbers():
                return False  # another job may have removed it
            path = self.path(number)
            with locked(path, wait=False) as free:
                if not free:
                    return False
                gone = self._partial()
                path.rename(gone)
                to_disk(self.folder)
            shutil.rmtree(gone)
            standing = self.standing()
            promotions = [p for p in standing.promotions if p.version != number]
            kept_back = {n: why for n, why in standing.kept_back.items() if n != number}
            self._write(Standing(promotions, kept_back))
        return True

    @contextmanager
    def in_production(self) -> Iterator[Promotion]:
        """The version that is in production now, kept from being removed while the block lasts.

        Raises:
            InputError: there is none.
        """
        with ExitStack() as stack:
            yield self._hold(stack)

    def _hold(self, stack: ExitStack) -> Promotion:
        """Takes the lock of the version in production, shared, until the stack is left."""
        while True:
            standing = self.standing()
            if standing.production is None:
                raise InputError(
                    f"--model must name a model with a version in production, {self.name!r} in "
                    f"{self.folder.parent} has none, and {len(self.numbers())} candidates"
                )
            path = self.path(standing.production)
            with suppress(FileNotFoundError):
                stack.enter_context(locked(path, shared=True))
            # Between two lines here another one may have come into production, and this one gone.
            if path.exists():
                return standing.promotions[-1]
            if self.standing().production == standing.production:
                raise InputError(f"--model must name a whole model, {path} is missing")

    def _taken(self) -> list[int]:
        """The numbers that there are folders of, whatever is in them."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def _partial(self) -> Path:
        return self.folder / f".{uuid4().hex[:8]}.partial"

    def _sweep(self) -> None:
        """Removes what is half-made; only under the lock, where nobody makes anything."""
        for path in self.folder.glob(".*.partial"):
            shutil.rmtree(path)
        Folder.at(self.folder, "--registry").sweep()

    def _write(self, standing: Standing) -> None:
        content = {
            "version": standing.production,
            "promotions": [asdict(each) for each in standing.promotions],
            "kept_back": standing.kept_back,
        }
        folder = Folder.at(self.folder, "--registry")
        folder.write(PRODUCTION, (json.dumps(content, indent=1) + "\n").encode())


def version_at(folder: Path) -> tuple[str, int] | None:
    """The name of the model and the number of the version whose folder it is; None where it is that of no version."""
    if (folder / RECORD).is_file() and folder.name.isdecimal():
        return folder.parent.name, int(folder.name)
    return None


def models(registry: Path) -> list[Model]:
    """The models of a registry, by name.

    Raises:
        InputError: there is no such folder.
    """
    if not registry.is_dir():
        raise InputError(f"--registry must be a folder that exists, got: {registry}")
    found = (Model(path) for path in sorted(registry.iterdir()) if path.is_dir())
    return [model for model in found if model.numbers()]


def model_named(registry: Path, name: str) -> Model:
    """The model of that name.

    Raises:
        InputError: there is none.
    """
    model = Model(registry / name)
    if not name or not model.numbers():
        known = ", ".join(each.name for each in models(registry)) or "none"
        raise InputError(f"NAME must be a model of {registry}, which has {known}; got: {name!r}")
    return model


def now() -> str:
    """The time, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def chosen_model(model: str, registry: Path) -> Iterator[Path]:
    """The folder of the run that a name or a path stands for; what is chosen stays there while the block lasts.

    A model, by its name in the registry or by the path of its folder, stands for its version in production when the
    block begins, and the path of the folder of a run for that one. What may be both is the name of the model, and
    with `./` before it a path.

    Raises:
        InputError: it is neither, or no version of the model is in production.
    """
    path = Path(model).expanduser().absolute()
    named = Model(path)
    if os.sep not in model and Model(registry.absolute() / model).numbers():
        named = Model(registry.absolute() / model)
    elif (path / CONFIG).is_file():
        yield path
        return
    if not named.numbers():
        known = ", ".join(each.name for each in models(registry)) if registry.is_dir() else ""
        raise InputError(
            f"--model must be the folder of a run, or one of the models of {registry}, which has "
            f"{known or 'none'}; got: {model!r}"
        )
    with named.in_production() as promotion:
        logger.info(
            "scoring with version %d of %s, in production since %s",
            promotion.version,
            named.name,
            promotion.at,
        )
        yield named.path(promotion.version)
