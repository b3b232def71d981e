"""Files of rows with a few bytes changed, cut out or put in: `make fuzz` reads them for some minutes.

Each is read, or refused with an error for people; the places of its rows rise, and none is both kept and rejected.
"""

import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.errors import InputError
from flows.store.storage import find
from flows.tables import files, readers
from flows.tables.columns import Columns

PIECES = (
    *(b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b'""', b"\\", b",", b";", b"\t"),
    *(b"\r", b"\n", b"\r\n", b"[", b"]", b"{", b"}", b"[" * 2000, b"," * 3000, b'{"text":' * 600),
    *(b"null", b"NaN", b"1e999", b"-0", b"9" * 400, b"\\ud800", b"x" * 70_000, b"\x1a", b"#"),
)


def samples() -> dict[str, bytes]:
    """By the ending of its name, a file that is whole."""
    rows = [
        {"text": f'A "good" one, é {i}\nand more', "label": i % 2, "x": None} for i in range(40)
    ]
    quoted = ('"' + str(row["text"]).replace('"', '""') + f'",{row["label"]},' for row in rows)
    sink, nested_sink = pa.BufferOutputStream(), pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, sink)
    nested = pa.table(
        {"text": [[{"a": str(i)}] for i in range(9)], "label": [{"b": i} for i in range(9)]}
    )
    pq.write_table(nested, nested_sink)
    lines = "".join(
        f'{{"text": "a {i} \\u00e9", "label": {i}, "x": [1, {{}}]}}\n' for i in range(40)
    )
    return {
        "a.csv": ("text,label,x\n" + "\n".join(quoted) + "\n").encode(),
        "semicolon.csv": b"text;label\n" + b"a 'b' \\\"c;1\n" * 30,
        "wide.csv": (",".join(f"c{i}" for i in range(3000)) + ",text,label\n").encode() * 3,
        "a.jsonl": lines.encode(),
        "a.json": ("[" + ",".join(lines.splitlines()) + "]").encode(),
        "a.parquet": sink.getvalue().to_pybytes(),
        "nested.parquet": nested_sink.getvalue().to_pybytes(),
    }


def changed(content: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four faults."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        until = min(len(content), at + rng.choice((0, 1, 1, 2, 8, 60)))
        piece = rng.choice(PIECES) if rng.random() < 0.6 else rng.randbytes(rng.randint(0, 4))
        content = content[:at] + piece + content[until:]
        if rng.random() < 0.1:
            content = content[: rng.randrange(len(content) + 1)]
    return content


def read(path: Path) -> tuple[int, int]:
    """How many rows were kept and how many rejected.

    Raises:
        InputError: the file is refused.
    """
    [file] = find(str(path), "--input", tuple(readers.READERS))
    kept: list[int] = []
    rejected: list[int] = []
    for batch in files.read_batches(file, Columns("text", "label"), path.name):
        kept += batch.places.to_pylist()
        rejected += [row.place for row in batch.rejected]
        assert len(batch.table) == len(batch.places)
    assert kept == sorted(set(kept)), "places of rows rise"
    assert not set(kept) & set(rejected), "no row is kept and rejected"
    return len(kept), len(rejected)


def run(seconds: float, seed: int, most: int = sys.maxsize) -> Counter[str]:
    """Reads changed files until the time is up, or there were `most`; counts what became of them."""
    figures: Counter[str] = Counter()
    whole = list(samples().items())
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end and figures["files"] < most:
            name, content = whole[figures["files"] % len(whole)]
            path = Path(folder) / name
            path.write_bytes(changed(content, random.Random(f"{seed}-{figures['files']}")))
            figures["files"] += 1
            try:
                kept, rejected = read(path)
                figures.update({"rows": kept, "rejected rows": rejected})
            except InputError:
                figures["refused files"] += 1
            except BaseException:
                found = Path("build/tests/found") / f"{seed}-{figures['files']}-{name}"
                found.parent.mkdir(parents=True, exist_ok=True)
                found.write_bytes(path.read_bytes())
                print(f"{found} is not read as it should be")
                raise
    return figures


if __name__ == "__main__":
    logging.disable()  # the warnings of each file
    print(dict(run(60 * float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
