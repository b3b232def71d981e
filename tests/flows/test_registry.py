"""Versions of models, and what is in production, also with several promoters and with some that are killed."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from flows.errors import InputError
from flows.store.registry import (
    PRODUCTION,
    RECORD,
    Model,
    Promotion,
    Standing,
    chosen_model,
    models,
)
from tests.faults import kills


def make_run(folder: Path, mark: str) -> Path:
    """What the registry takes for the folder of a run."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(mark)
    (folder / "scores").mkdir()
    (folder / "scores" / "x.parquet").write_text(mark)
    (folder / "parts").mkdir()
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model of three versions, all candidates."""
    model = Model(tmp_path / "models" / "reviews")
    for mark in "abc":
        model.add(make_run(tmp_path / mark, mark), {"digest": mark}, leave_out="parts")
    return model


def test_a_version_is_a_copy_of_a_run(model: Model, tmp_path: Path) -> None:
    assert model.numbers() == [1, 2, 3]
    folder = model.path(2)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert names == {"config.json", "model.safetensors", "scores", "scores/x.parquet", RECORD}
    assert (folder / "scores" / "x.parquet").read_text() == "b"
    assert model.record(2) == {"digest": "b"}
    (tmp_path / "b" / "config.json").write_text("changed")
    assert (folder / "config.json").read_text() == "b"


def test_the_same_model_is_there_once(model: Model, tmp_path: Path) -> None:
    before = tree(tmp_path / "models")
    assert model.add(tmp_path / "c", {"digest": "b"}, leave_out="parts") == 2
    assert tree(tmp_path / "models") == before


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_status_reason_and_the_way_back(model: Model) -> None:
    assert model.way_back() is None
    assert model.standing().reason(1).startswith("not compared yet")
    assert model.promote(1, "first")
    model.keep_back(2, "worse")
    assert model.promote(3, "better", instead_of=1)
    standing = model.standing()
    assert [standing.status(n) for n in (1, 2, 3)] == ["retired", "candidate", "production"]
    assert [standing.reason(n) for n in (1, 2, 3)] == ["first", "worse", "better"]
    assert [p.replaced for p in standing.promotions] == [None, 1]
    assert model.promote(2, "by hand")
    assert model.way_back() == 3
    assert model.promote(3, "back", back=True)
    assert model.way_back() == 1
    assert model.promote(1, "back", back=True)
    assert model.way_back() is None
    assert model.promote(2, "again")
    assert model.way_back() == 1


def test_nothing_is_done_where_something_else_is_in_production(model: Model) -> None:
    assert not model.promote(1, "no", instead_of=2)
    assert model.promote(1, "first", instead_of=None)
    assert not model.promote(2, "no", instead_of=None)
    assert not model.promote(1, "no")
    assert model.standing().production == 1
    with pytest.raises(
        InputError, match=r"VERSION must be one of 'reviews', which has 1, 2, 3; got: 7"
    ):
        model.promote(7, "no")


def test_what_is_in_production_or_a_way_back_stays(model: Model) -> None:
    for number in (1, 2, 3):
        model.promote(number, "better")
    model.promote(1, "by hand")
    assert model.kept(1) == {1, 3}
    assert [model.remove(number, 1) for number in (1, 2, 3)] == [False, True, False]
    assert model.numbers() == [1, 3]
    assert [p.version for p in model.standing().promotions] == [1, 3, 1]
    model.promote(3, "back", back=True)
    with model.in_production() as promotion:
        model.promote(1, "by hand")
        assert promotion.version == 3
    assert not list(model.folder.glob(".*"))


def test_what_is_in_use_stays(model: Model) -> None:
    model.promote(1, "first")
    with model.in_production():
        model.promote(2, "better")
        model.promote(3, "better")
        assert not model.remove(1, 1)
    assert model.remove(1, 1)


def test_numbers_are_not_used_again(model: Model, tmp_path: Path) -> None:
    model.promote(3, "better")
    model.promote(1, "by hand")
    (model.path(3)).rename(tmp_path / "gone")
    assert model.add(tmp_path / "b", {"digest": "new"}, leave_out="parts") == 4


def test_promotions_that_come_back_to_a_version_twice() -> None:
    def standing(*steps: tuple[int, bool]) -> Standing:
        return Standing([Promotion(n, "", "", None, back) for n, back in steps])

    assert standing().before == []
    assert standing((1, False), (2, False), (1, False)).before == [1, 2]
    assert standing((1, False), (2, False), (3, False), (2, True)).before == [1]
    assert standing((2, False), (1, True)).before == []


def test_a_name_stands_for_what_is_in_production(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = tmp_path / "models"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"version in production, 'reviews' in .* none, and 3 candidates"), \
            chosen_model("reviews", registry):  # fmt: skip
        pass
    model.promote(2, "first")
    for name in ("reviews", "models/reviews", str(model.folder)):
        with chosen_model(name, registry) as folder:
            assert folder == model.path(2)
            model.promote(3, "better")
            assert (folder / "config.json").read_text() == "b"
        model.promote(2, "back", back=True)
    with chosen_model("c", registry) as folder:
        assert folder == tmp_path / "c"
    for name in ("other", "../models/nothing"):
        with pytest.raises(InputError, match=r"--model must be .* which has reviews; got: "), \
                chosen_model(name, registry):  # fmt: skip
            pass
    with pytest.raises(InputError, match="which has none"), chosen_model("x", tmp_path / "no"):
        pass


def test_a_folder_here_does_not_hide_a_model_of_its_name(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model.promote(2, "first")
    data = tmp_path / "reviews" / "2026" / "01"
    data.mkdir(parents=True)
    for name in ("reviews", "models/reviews"):
        with chosen_model(name, tmp_path / "models") as folder:
            assert folder == model.path(2)
    with pytest.raises(InputError, match="--model must be the folder of a run"), \
            chosen_model("./reviews", tmp_path / "models"):  # fmt: skip
        pass
    (tmp_path / "reviews" / "config.json").touch()
    with chosen_model("reviews", tmp_path / "models") as folder:
        assert folder == model.path(2)
    with chosen_model("./reviews", tmp_path / "models") as folder:
        assert folder == tmp_path / "reviews"


def test_a_folder_that_is_no_version(model: Model, tmp_path: Path) -> None:
    (model.path(4) / "01").mkdir(parents=True)
    assert model.numbers() == [1, 2, 3]
    assert models(tmp_path / "models") == [model]
    assert model.add(make_run(tmp_path / "d", "d"), {"digest": "d"}, leave_out="parts") == 5


def test_an_error_in_the_block_is_the_block_s(model: Model) -> None:
    model.promote(1, "first")
    with pytest.raises(FileNotFoundError), model.in_production():
        raise FileNotFoundError


def test_no_registry(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"--registry must be a folder that exists, got: .*nowhere"
    ):
        models(tmp_path / "nowhere")


def test_promoters_at_the_same_time(model: Model) -> None:
    """Each promotion knows what it replaced; a reader never meets half of one."""
    start, end = threading.Barrier(5), threading.Event()
    errors: list[BaseException] = []

    def promote(seed: int) -> None:
        chosen = random.Random(seed)
        start.wait()
        for _ in range(15):
            model.promote(chosen.choice([1, 2, 3]), f"promoter {seed}")

    def read() -> None:
        start.wait()
        while not end.is_set():
            try:
                assert model.standing().production in (None, 1, 2, 3)
            except BaseException as error:
                errors.append(error)

    promoters = [threading.Thread(target=promote, args=(seed,)) for seed in range(4)]
    reader = threading.Thread(target=read)
    for thread in (*promoters, reader):
        thread.start()
    for thread in promoters:
        thread.join()
    end.set()
    reader.join()
    assert errors == []
    promotions = model.standing().promotions
    assert len(promotions) > 15
    assert promotions[0].replaced is None
    assert all(b.replaced == a.version for a, b in pairwise(promotions))


PROMOTER = """
import sys
from pathlib import Path
from flows.store.registry import Model
model, runs = Model(Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
for i in range(10**6):
    number = model.add(runs / "abc"[i % 3], {"digest": f"{sys.argv[3]}-{i}"}, leave_out="parts")
    model.promote(number, "better")
    for old in model.numbers():
        model.remove(old, 3)
"""


def kill_promoters(model: Model, runs: Path, times: int) -> None:
    """Kills processes that register, promote and remove, and looks at what each has left."""
    chosen = random.Random(20_26)
    for turn in range(times):
        before = model.standing().production
        command = [sys.executable, "-c", PROMOTER, str(model.folder), str(runs), str(turn)]
        promoters = [
            subprocess.Popen([*command[:-1], f"{turn}-{i}"], stdout=subprocess.PIPE)
            for i in range(2)
        ]
        for process in promoters:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(chosen.uniform(0.02, 0.3))
        for process in promoters:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL  # and no error before
        assert_whole(model)
        # The next one goes on: whatever was half-made goes.
        number = model.add(runs / "a", {"digest": f"after {turn}"}, leave_out="parts")
        assert model.promote(number, "better")
        assert model.standing().production == number != before
        assert_whole(model)
        left = {path.name for path in model.folder.iterdir()}
        assert left == {PRODUCTION, *map(str, model.numbers())}


def assert_whole(model: Model) -> None:
    standing = model.standing()
    json.loads((model.folder / PRODUCTION).read_text())
    assert standing.production in model.numbers()
    for number in model.numbers():
        assert model.record(number)["digest"]
        assert len(tree(model.path(number))) == 4


def test_promoters_that_are_killed(model: Model, tmp_path: Path) -> None:
    model.promote(1, "first")
    kill_promoters(model, tmp_path, 3)


@pytest.mark.soak
@pytest.mark.faults
def test_many_promoters_that_are_killed(model: Model, tmp_path: Path) -> None:
    model.promote(1, "first")
    kill_promoters(model, tmp_path, kills("promotion") // 2)  # two at a time
