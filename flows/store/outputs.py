"""What becomes of the rows of a shard: how it is named, written, found again, and listed at the end.

An output folder holds, of each shard,

- `<key>.parquet`, its rows,
- `rejected/<key>.jsonl`, where rows could not be used: their place in the input and the reason,
- `tally/<key>.json`, what was counted of the rows, to tell whether they are like those of training,
- `<key>.json`, the record of all these, written last: a shard that has one is done;

and, when all shards of a run are done, `manifest.json`, which lists the records, then `drift.json`, which tells how far
the rows are from those of training, then `report.html`, and last, unless a gate is closed, `_SUCCESS`. The key is made
of everything that decides the content. So a shard that is done twice, by whomever, is there once; the report alone,
which tells how long a run took, differs from run to run. A folder to which runs add what is new has, instead of the
manifest, what `flows.store.ledger` says; `drift.json` and the report are of the last run there that added something.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from mmap import ACCESS_READ, mmap
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from pydantic_core import from_json

from flows.accounts import Rejected
from flows.store.storage import Folder
from rnnfast.evaluation.drift import Tally

MANIFEST, DRIFT, SUCCESS = "manifest.json", "drift.json", "_SUCCESS"
REJECTED, TALLY = "rejected", "tally"
_FILE = re.compile(r"(.*-[0-9a-f]{16})\.(json|jsonl|parquet)", re.DOTALL)  # of a shard
STEM = 100  # bytes of a key before its digest: a file system takes names of 255, temporary ones among them


@dataclass(frozen=True)
class Record:
    """What a shard came to.

    Attributes:
        key: the name of its files.
        input: the file that it was read from, by its place below the folder of all; or which part of all files it is.
        first_row: the first of its rows there, counted from 1; None where they do not follow each other in one file.
        input_rows: how many rows it has there.
        input_sha256: of these rows' content, however the file encodes it.
        rows: written.
        rejected: rows that could not be used.
        bytes: of the file with the rows.
        sha256: of that file.
    """

    key: str
    input: str
    first_row: int | None
    input_rows: int
    input_sha256: str
    rows: int
    rejected: int
    bytes: int
    sha256: str


_RECORD = TypeAdapter(Record)


@dataclass(frozen=True)
class Outputs:
    """The output folder of a job.

    Attributes:
        folder: where it is.
        schema: of the rows.
        settings: all that decides the rows beside the input, as JSON has it; part of every key.
    """

    folder: Folder
    schema: pa.Schema
    settings: Mapping[str, Any]

    def key(self, stem: str, *parts: object) -> str:
        """The key of the shard that the `parts`, as JSON has them, tell from all others."""
        identity = json.dumps([self.settings, *parts]).encode()
        short = stem.encode()[:STEM].decode(errors="ignore")  # not within a character
        return f"{short}-{hashlib.sha256(identity).hexdigest()[:16]}"

    def find(self, key: str) -> tuple[Record, Tally] | None:
        """The record of a shard that is done, and what was counted of its rows, else None."""
        try:
            record = _RECORD.validate_json(self.folder.read(f"{key}.json"))
            tally = Tally.from_json(from_json((self.folder / TALLY).read(f"{key}.json")))
        except (FileNotFoundError, ValueError, TypeError, LookupError, AttributeError):
            return None  # one that is no record is written anew
        if record.key != key:
            return None
        # Somebody may have removed the rows, or the list of those that could not be used, and left the record.
        has_rows = self.folder.size(f"{key}.parquet") == record.bytes
        has_rejected = (
            not record.rejected or (self.folder / REJECTED).size(f"{key}.jsonl") is not None
        )
        return (record, tally) if has_rows and has_rejected else None

    def write(
        self,
        key: str,
        tables: Iterable[pa.Table],
        rejected: Sequence[tuple[str, Rejected]],
        tally: Tally,
        about: Mapping[str, Any],
    ) -> Record:
        """Writes the files of a shard, and returns its record.

        Args:
            key: of the shard.
            tables: the rows, of the schema; taken once, all before `rejected` and `tally` are read.
            rejected: rows of the input that could not be used, each with the name of its file.
            tally: what was counted of the rows.
            about: the fields of the record that tell of the input.
        """
        rows = 0
        # On the disk, since a shard may come to many times its input; it has no name that could be left there.
        with tempfile.TemporaryFile() as file:
            with pq.ParquetWriter(file, self.schema, compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table)
                    rows += table.num_rows
            file.flush()
            content = pa.py_buffer(mmap(file.fileno(), 0, access=ACCESS_READ))
        if rejected:
            lines = [
                json.dumps({"input": name, "row": row.place, "reason": row.reason}, ensure_ascii=False) + "\n"
                for name, row in rejected
            ]  # fmt: skip
            (self.folder / REJECTED).write(f"{key}.jsonl", "".join(lines).encode())
        (self.folder / TALLY).write(f"{key}.json", json.dumps(tally.as_json()).encode())
        self.folder.write(f"{key}.parquet", content)
        record = Record(
            key=key,
            rows=rows,
            rejected=len(rejected),
            bytes=content.size,
            sha256=hashlib.sha256(content).hexdigest(),
            **about,
        )
        self.folder.write(f"{key}.json", (json.dumps(asdict(record), indent=1) + "\n").encode())
        return record

    def remove(self, key: str) -> None:
        """Removes the files of a shard: first its record, without which it is not done."""
        self.folder.remove(f"{key}.json")
        self.folder.remove(f"{key}.parquet")
        (self.folder / REJECTED).remove(f"{key}.jsonl")
        (self.folder / TALLY).remove(f"{key}.json")

    def keys(self) -> set[str]:
        """The keys of all shards that have a file in the folder, if only what was counted of the rows."""
        folders = (self.folder, self.folder / REJECTED, self.folder / TALLY)
        found = (_FILE.fullmatch(name) for folder in folders for name in folder.sizes())
        return {match[1] for match in found if match}

    def begin(self) -> None:
        """Makes the folder, takes away what says that it is finished, and what dead processes left."""
        self.folder.make()
        self.folder.remove(SUCCESS)
        self._sweep()

    def finish(self, records: Sequence[Record], account: Mapping[str, Any]) -> int:
        """Writes the manifest of a run whose shards are all done.

        Args:
            records: of the shards.
            account: what became of the rows of the input.

        Returns:
            How many shards the folder has beside these, of other inputs, settings or models.
        """
        # The workers of a job that was killed may have lived a moment longer, into the beginning of this one.
        self._sweep()
        records = sorted(records, key=lambda record: (record.input, record.first_row, record.key))
        own = {f"{record.key}.parquet" for record in records}
        others = sum(name.endswith(".parquet") and name not in own for name in self.folder.sizes())
        manifest = {
            "rows": sum(record.rows for record in records),
            "rejected": sum(record.rejected for record in records),
            "account": account,
            "settings": self.settings,
            "schema": {field.name: str(field.type) for field in self.schema},
            "shards": [asdict(record) for record in records],
        }
        self.folder.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        return others

    def succeed(self) -> None:
        """Says that the run is finished, and that what it wrote may be used, unless it is said."""
        if self.folder.size(SUCCESS) is None:
            self.folder.write(SUCCESS, b"")

    def end(self) -> None:
        """Takes away what workers left that were ended in the midst of writing, and the folder if it is empty."""
        self._sweep()
        self.folder.remove_if_empty()

    def _sweep(self) -> None:
        for folder in (self.folder, self.folder / REJECTED, self.folder / TALLY):
            folder.sweep()


def content_digest(table: pa.Table, rejected: Sequence[Rejected]) -> str:
    """SHA-256 in hexadecimal of columns of strings without nulls, and of the rows that were rejected.

    It does not depend on how the columns are cut into chunks.
    """
    digest = hashlib.sha256(json.dumps([table.column_names, rejected]).encode())
    for column in table.columns:
        chunks = [chunk for chunk in column.cast(pa.large_string()).chunks if len(chunk)]
        for chunk in chunks:
            digest.update(pc.binary_length(chunk).to_numpy())
        for chunk in chunks:
            _, offsets, data = chunk.buffers()
            ends = np.frombuffer(offsets, np.int64)[chunk.offset :]
            digest.update(memoryview(data or b"")[ends[0] : ends[len(chunk)]])
    return digest.hexdigest()
