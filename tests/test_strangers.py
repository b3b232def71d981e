"""Folders of runs from strangers: cut off anywhere, of sizes that overflow, of parts that do not fit each other."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_scoring import make_run

from rnnfast.evaluation.profiles import Profile
from rnnfast.scoring.scorers import Scorer
from rnnfast.training.run_folder import RunFolderError, read_config

HUGE = (1 << 31, 1 << 62, 1 << 63, 10**30, -1, 1e308, "9" * 400)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def with_header(weights: bytes, changed: dict[str, Any]) -> bytes:
    """The weights with other words at the head of their file."""
    size = struct.unpack_from("<Q", weights)[0]
    header = json.dumps(changed).encode()
    return struct.pack("<Q", len(header)) + header + weights[8 + size :]


def broken_weights(weights: bytes) -> Iterator[bytes]:
    size = struct.unpack_from("<Q", weights)[0]
    header = json.loads(weights[8 : 8 + size])
    for length in (0, 1, 1 << 31, 1 << 63, (1 << 64) - 1):
        yield struct.pack("<Q", length) + weights[8:]
    for name, entry in header.items():
        for shape in ([1 << 62, 4], [0], [1 << 64], [-1]):
            yield with_header(weights, header | {name: entry | {"shape": shape}})
        for places in ([0, 1 << 63], [1 << 63, 0], [5, 3]):
            yield with_header(weights, header | {name: entry | {"data_offsets": places}})
        for dtype in ("F64", "I32", "U32", "no"):
            yield with_header(weights, header | {name: entry | {"dtype": dtype}})
        yield with_header(weights, {key: header[key] for key in header if key != name})


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.txt"])
def test_a_file_that_is_cut_off_anywhere_is_an_error(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    # The last byte but one of the configuration ends it; behind it comes a line end.
    for end in range(0, len(whole) - 1, max(1, len(whole) // 150)):
        (run / name).write_bytes(whole[:end])
        with pytest.raises(RunFolderError, match=str(run)):
            Scorer.load(run)


def test_weights_whose_head_lies_are_an_error(run: Path) -> None:
    path = run / "model.safetensors"
    for content in broken_weights(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match="must hold the weights"):
            Scorer.load(run)


@pytest.mark.parametrize("field", ["hidden_size", "embedding_size", "sequence_length"])
def test_sizes_that_no_machine_has_are_an_error_and_take_no_memory(run: Path, field: str) -> None:
    path = run / "config.json"
    whole = json.loads(path.read_text())
    for value in HUGE:
        path.write_text(json.dumps(whole | {"model": whole["model"] | {field: value}}))
        with pytest.raises(RunFolderError):
            Scorer.load(run)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, '{"a": NaN}'])
def test_json_that_is_deep_or_long_is_an_error(run: Path, content: str) -> None:
    for name in ("config.json", "profile.json"):
        (run / name).write_text(content)
    with pytest.raises(RunFolderError, match=r"config\.json"):
        read_config(run)
    with pytest.raises(RunFolderError, match=r"profile\.json must be the profile of a run"):
        Profile.load(run)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"\xff", b'{"training": 1}'])
def test_a_broken_profile_is_an_error(run: Path, content: bytes) -> None:
    (run / "profile.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"profile\.json must be the profile of a run"):
        Profile.load(run)


def test_labels_must_differ(run: Path) -> None:
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"labels": ["sad", "sad"]}))
    with pytest.raises(RunFolderError, match="labels must differ"):
        Scorer.load(run)
