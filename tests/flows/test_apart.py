"""A job never reads what it writes: refused before anything is written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs import asked, score_files
from typer.testing import Result

from flows.apart import require_apart, require_data_apart, require_outside_models, shard_files
from flows.errors import InputError
from flows.parameters import FileSelection, ReviewsData, SensorsData
from flows.steps.score.files import plan_files
from flows.store.storage import find

RunCli = Callable[..., Result]
KINDS = ("csv", "jsonl", "parquet")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with files of reviews, some in folders below."""
    for name in ("a.csv", "b.parquet", "2024/c.parquet", "_hidden/d.csv"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            path.write_text("text\ngood\nbad\n")
        else:
            pq.write_table(pa.table({"text": ["good"]}), path)
    return tmp_path / "data"


def require(pattern: Path | str, output: Path | str) -> None:
    files = find(str(pattern), "--input", KINDS)
    require_apart("--input", str(pattern), files, output, shard_files(files))


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("", ""),  # the folder itself
        ("", "out"),  # a folder in it, new or not
        ("", "2024"),
        ("", "2024/out/deep"),
        ("a.csv", "a.csv"),
        ("a.csv", ""),
        ("*.csv", ""),
        ("*.parquet", ""),
        ("b*.parquet", ""),
        ("2024/c.parquet", "2024"),
        ("*/c*.parquet", "2024"),
        ("**/*.parquet", "out"),
        ("**", "out"),
        ("2024/../**/*.parquet", "out"),
        ("*/*.parquet", "out"),
        ("**/c*.parquet", "out"),  # scores of c.parquet would be c-<digest>.parquet
    ],
)
def test_what_is_refused(data: Path, pattern: str, output: str) -> None:
    with pytest.raises(
        InputError, match=r"^--input must n.* choose an --output apart from the input"
    ):
        require(data / pattern, data / output)


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("", "../out"),
        ("", "../data2"),
        ("", "_scores"),  # hidden from whoever reads the folder
        ("", "2024/.scores"),
        ("a.csv", "out"),
        ("*.csv", "out"),
        ("*/*.csv", "out/deep"),
        ("*.parquet", "out"),
        ("2024", "out"),
        ("2024/*", "out"),
    ],
)
def test_what_is_apart(data: Path, pattern: str, output: str) -> None:
    require(data / pattern, data / output)


def test_relative_paths_and_links(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "linked.csv").symlink_to(data / "a.csv")
    for pattern, output in ((".", "scores"), ("*.csv", "."), (tmp_path / "link", "scores"),
                            (data, tmp_path / "link" / "scores"), (tmp_path / "files", "../data"),
                            (tmp_path / "link" / "*.csv", data), ("../data", "2024/../scores")):  # fmt: skip
        with pytest.raises(InputError, match="choose an --output apart from the input"):
            require(pattern, output)
    require(tmp_path / "files", "scores")


def test_addresses_of_an_object_store(bucket: str, tmp_path: Path) -> None:
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(f"{bucket}/apart")
    pq.write_table(pa.table({"text": ["a"]}), f"{path}/in/a.parquet", filesystem=system)
    for pattern, output in (("in", "in"), ("in", "in/out"), ("in/*.parquet", "in"), ("**/*.parquet", "out"),
                            ("in/a.parquet", "in")):  # fmt: skip
        with pytest.raises(InputError, match="choose an --output apart from the input"):
            require(f"{bucket}/apart/{pattern}", f"{bucket}/apart/{output}")
    require(f"{bucket}/apart/in", f"{bucket}/apart/out")
    require(f"{bucket}/apart/in/*.parquet", f"{bucket}/apart/in/out")
    require(f"{bucket}/apart/in", tmp_path / "in")


@pytest.mark.parametrize("new", [False, True])
def test_scoring_refuses_before_it_writes(run_dir: Path, data: Path, new: bool) -> None:
    before = sorted(data.rglob("*"))
    selection = FileSelection(new=new, settle=0)
    for pattern, output in ((data, data / "out"), (data / "*.parquet", data)):
        with pytest.raises(
            InputError, match=r"--input must not name what the job writes|must name no"
        ):
            score_files(run_dir, str(pattern), None, output, selection=selection)
        request = asked(run_dir, str(pattern), None, output, selection=selection)
        with pytest.raises(InputError, match="--input must"):
            plan_files(run_dir, request)
    assert sorted(data.rglob("*")) == before


def test_training_refuses_before_it_writes(data: Path, tmp_path: Path) -> None:
    for kind in (ReviewsData, SensorsData):
        with pytest.raises(InputError, match=r"--dataset must not name what the job writes"):
            require_data_apart(kind(dataset=str(data)), data / "run")
        with pytest.raises(InputError, match=r"--dataset must name no file of --output"):
            require_data_apart(kind(dataset=str(data / "2024" / "c.parquet")), data)
        require_data_apart(kind(dataset=str(data)), tmp_path / "run")
        require_data_apart(kind(), data / "run")  # the sample
    both = ReviewsData(dataset=str(data / "a.csv"), test_dataset=str(data / "2024"))
    with pytest.raises(InputError, match=r"--test-dataset must not name what the job writes"):
        require_data_apart(both, data / "2024" / "run")


def test_scores_in_the_folder_of_a_model(run_dir: Path, tmp_path: Path) -> None:
    registry = tmp_path / "models"
    shutil.copytree(run_dir, registry / "mine" / "1")
    (tmp_path / "link").symlink_to(run_dir)
    for model, output in ((str(run_dir), run_dir), (str(run_dir), run_dir / "scores"),
                          ("mine", registry / "mine" / "x"), (str(tmp_path / "link"), run_dir / "x")):  # fmt: skip
        with pytest.raises(InputError, match="--output must not be in the folder of the model"):
            require_outside_models(model, registry, str(output))
    require_outside_models(str(run_dir), registry, str(tmp_path / "out"))
    require_outside_models("mine", registry, "s3://bucket/mine")
    require_outside_models("mine", registry, str(tmp_path / "mine"))


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_commands(
    run_cli: RunCli, run_dir: Path, data: Path, reviews_csv: Path, dry: list[str]
) -> None:
    folder = reviews_csv.parent / "train"
    folder.mkdir()
    reviews_csv.rename(folder / "a.csv")
    calls = [
        ("reviews", "--dataset", folder, "--output", folder / "run"),
        ("sensors", "--dataset", folder, "--output", folder / "run"),
        ("score", "--model", run_dir, "--input", data, "--output", run_dir / "out"),
        *(
            [("score", "--model", run_dir, "--input", data, "--output", data / "out")]
            if dry
            else []
        ),
    ]
    for call in calls:
        result = run_cli(*call, *dry)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.stderr
        assert "Error: --" in result.stderr
    assert not (folder / "run").exists()
    assert not (run_dir / "out").exists()
    assert not (data / "out").exists()


def test_the_scores_of_a_folder_do_not_come_back_as_input(
    server: None, run_cli: RunCli, run_dir: Path, data: Path
) -> None:
    options = ("score", "--model", run_dir, "--input", data, "--output", data / "_scores")
    for _ in range(2):
        result = run_cli(*options)
        assert result.exit_code == 0, result.output
    refused = run_cli(*options[:-1], data / "scores")
    assert refused.exit_code == 2
    assert not (data / "scores").exists()
