"""One Prefect server for all tests of the flows, a cache of their own, and small things to read."""

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

# Before anything imports `flows`, which settles where Prefect keeps its state.
_STATE = tempfile.TemporaryDirectory(prefix="rnnfast-tests-")
os.environ["PREFECT_HOME"] = str(Path(_STATE.name, "prefect"))
os.environ["RNNFAST_CACHE"] = str(Path(_STATE.name, "cache"))
_MIRROR = os.environ.pop("RNNFAST_MIRROR", "")
os.environ.pop("PREFECT_API_URL", None)

Member = tuple[str, bytes] | tarfile.TarInfo


@pytest.fixture
def tiny() -> list[str]:
    """Options for the smallest model: tests of the flows are not about accuracy."""
    settings = ("embedding_size=4", "hidden_size=4", "sequence_length=16", "max_tokens=50")
    return ["--epochs", "1", *(word for setting in settings for word in ("--set", setting))]


@pytest.fixture
def pack() -> Callable[[Path, list[Member]], Path]:
    """Writes a .tar.gz archive of members, each a name and its content, or a header alone."""

    def write(path: Path, members: list[Member]) -> Path:
        with tarfile.open(path, "w:gz") as archive:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    archive.addfile(member)
                    continue
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
        return path

    return write


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    """One server of Prefect for all tests of this process, with a home of its own, which ends with the process."""
    from flows.orchestration.own_server import OwnServer
    from flows.orchestration.surroundings import surroundings
    from tests.flows.homes import prefect_home

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_home(Path(_STATE.name, "server"))))
        with surroundings(OwnServer()):
            pass
    with pytest.MonkeyPatch.context() as patch:
        # Beside other tests it may take longer to answer than a job would wait.
        patch.setattr("flows.orchestration.surroundings.ANSWER_PATIENCE", 120.0)
        yield


def _mirror_with(*names: str) -> Path:
    for name in names:
        if not Path(_MIRROR, name).is_file():
            pytest.skip(f"RNNFAST_MIRROR names no folder with {name}")
    return Path(_MIRROR)


@pytest.fixture
def mirror() -> Path:
    """The folder that RNNFAST_MIRROR names, where it has the reviews; else the test is skipped."""
    return _mirror_with("aclImdb_v1.tar.gz")


@pytest.fixture
def sensor_mirror() -> Path:
    """The same, where it has the readings of sensors."""
    return _mirror_with("weatherHistory.csv", "ETTh1.csv", "HAPT Data Set.zip")


@pytest.fixture
def run_cli() -> Callable[..., Result]:
    """Calls the command line in this process, in a wide terminal, so that no message is wrapped."""
    from flows.__main__ import app

    def call(*arguments: object) -> Result:
        return CliRunner(env={"COLUMNS": "500"}).invoke(app, [str(item) for item in arguments])

    return call


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The folder of a run with a small model that nobody has trained."""
    from rnnfast.models.config import ModelConfig
    from rnnfast.models.texts import build_model
    from rnnfast.scoring.scorers import save_run
    from rnnfast.text.vocabulary import Vocabulary
    from rnnfast.training.settings import TrainingSettings

    config = ModelConfig(embedding_size=4, hidden_size=4, sequence_length=8)
    words = Vocabulary(["[UNK]", "pad", "good", "bad"])
    folder = tmp_path / "model"
    folder.mkdir()
    model = build_model(config, len(words))
    settings = TrainingSettings()
    save_run(folder, model, words, config=config, training=settings, labels=("neg", "pos"), data={})
    return folder


@pytest.fixture
def forecaster(tmp_path: Path) -> Path:
    """The folder of a run with a small model of readings, 12 hours to 4, that nobody has trained."""
    from rnnfast.models.window_config import WindowConfig
    from rnnfast.models.windows import build_window_model
    from rnnfast.scoring.scorers import save_sensors_run
    from rnnfast.training.run_folder import SeriesInfo
    from rnnfast.training.settings import WindowTraining

    info = SeriesInfo(channels=("temp", "load"), targets=("temp",), step=3_600_000_000, carry=2,
                      time_column="when", group_column="device")  # fmt: skip
    run = tmp_path / "model"
    run.mkdir()
    model = build_window_model(WindowConfig(lookback=12, horizon=4, hidden_size=4), 2, (0,))
    save_sensors_run(run, model, training=WindowTraining(), series=info, data={})
    return run


@pytest.fixture
def finished(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a finished run, its parts inside, of a classifier that is right in so many of ten cases.

    A text is one of ten words, of which every other one is of label "pos"; the test part has each a hundred times.
    """

    def make(
        name: str, right: int, *, seed: int = 0, labels: tuple[str, str] = ("neg", "pos")
    ) -> Path:
        import json

        import pyarrow as pa
        import torch

        from flows.datasets.base import SCHEMA, write_reviews
        from flows.steps.report.reviews import figures_on_test
        from rnnfast.models.config import ModelConfig
        from rnnfast.models.texts import build_model
        from rnnfast.scoring.scorers import Scorer, save_run
        from rnnfast.text.vocabulary import Vocabulary
        from rnnfast.training.settings import TrainingSettings

        config = ModelConfig(cell="ngrams", max_pairs=1, sequence_length=8)
        words = Vocabulary(["[UNK]", "pad", *(f"w{i}" for i in range(10))])
        model = build_model(config, len(words))
        sides = torch.tensor([1.0 if (i % 2 == 1) == (i < right) else -1.0 for i in range(10)])
        model.scale[2:12], model.weight[2:12] = 1, sides * (1 + seed)
        run = tmp_path / name
        (run / "parts").mkdir(parents=True)
        save_run(
            run,
            model,
            words,
            config=config,
            training=TrainingSettings(seed=seed),
            labels=labels,
            data={},
        )
        rows = [(f"{i}", f"w{i % 10}", i % 2, None) for i in range(1000)]
        table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)
        write_reviews(table, labels, run / "parts" / "test.parquet")
        figures = figures_on_test(run / "parts", Scorer.load(run))
        assert figures["accuracy"] == right / 10
        (run / "metrics.json").write_text(json.dumps({"test": figures}))
        return run

    return make


@pytest.fixture
def reviews_csv(tmp_path: Path) -> Path:
    """120 labelled reviews of 12 movies."""
    path = tmp_path / "reviews.csv"
    lines = ["id,text,label,movie"]
    for i in range(120):
        word, label = (("good", "pos"), ("bad", "neg"))[i % 2]
        lines.append(f'r{i},"A {word} one, number {i}",{label},m{i // 10}')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket on a server of this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        from pyarrow import fs

        system, _ = fs.FileSystem.from_uri("s3://reviews/?allow_bucket_creation=true")
        system.create_dir("reviews")
        yield "s3://reviews"
    server.stop()
