"""A scoring run leaves a page that says what it did, before it is called a success."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from jobs import score_files
from typer.testing import Result

from flows import REPORT
from flows.errors import GateError, InputError
from flows.parameters import Execution, FileSelection
from flows.steps.report import scores as report_step
from flows.store.outputs import DRIFT, MANIFEST, SUCCESS
from flows.store.registry import Model
from flows.store.storage import Folder, redacted
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import (
    Profile,
    tally_forecasts,
    tally_readings,
    tally_scores,
    tally_texts,
)
from rnnfast.scoring.scorers import Scorer, SensorScorer
from tests.pages import Page, assert_figures_are_told, assert_stands_alone

RunCli = Callable[..., Result]
ALONE, NEW = Execution(workers=1, shard_rows=100), FileSelection(new=True, settle=0)
USUAL = [f"good {'bad ' * (i % 5)}good" for i in range(300)]


@pytest.fixture
def profiled(run_dir: Path) -> Path:
    """The folder of a run that was trained on texts like USUAL."""
    scorer = Scorer.load(run_dir)
    texts = pa.array(USUAL)
    tallies = [tally_texts(texts, scorer.vocabulary, scorer.config.sequence_length) for _ in "abc"]
    tally_scores(tallies[1], scorer.score(texts))
    Profile(*tallies).save(run_dir)
    return run_dir


def put(folder: Path, name: str, texts: list[str], *lines: str) -> Path:
    """A file of texts, and of lines as they are."""
    path = folder / "in" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["text", *texts, *lines, ""]), encoding="latin-1")
    return path


def page_of(output: Path) -> Page:
    return Page((output / REPORT).read_text(encoding="utf-8"))


def drift_of(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / DRIFT).read_text()))


def test_the_page_of_reviews(profiled: Path, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", USUAL, "caf\xe9", "b,c,d", "e,f")
    put(tmp_path, "<b>.csv", ["unheard"] * 100)
    output = tmp_path / "out"
    done = score_files(profiled, str(tmp_path / "in"), None, output, execution=ALONE)
    assert done.judged
    page = page_of(output)
    assert_stands_alone(page)
    assert_figures_are_told(page, 3)  # scores, drift, time
    words = page.words()
    for phrase in (
        "Scores by model",
        "400 scores written with model",
        f"its digest {Scorer.load(profiled).digest}",
        "3 0.74% of the 403 rows of the input",
        "5 of 2 files, 0 done earlier",
        "reviews per second",
        "the text is not UTF-8 1 a.csv, row 301",
        "1 fields expected, found 3 1 a.csv, row 302",
        "After the scoring 4 rules were checked on the rows.",
        "How far the 400 scored rows are from the training part",
        "shard_rows 100",
    ):
        assert phrase in words, phrase
    checks = {(each["rule"], each["of"]): each for each in drift_of(output)["checks"]}
    assert checks["psi", "unknown"]["status"] == "failed"
    assert checks["blank", "the scored rows"]["status"] == "passed"
    assert re.search(r"Psi failed unknown [\d.]+ 0.1 0.25", words)
    assert re.search(r"Blank passed the scored rows 0 0.01 0.5", words)
    # The bars are those of the scores that were written.
    scores = [row["score"] for row in rows(output)]
    place = math.floor(20 * scores[0])
    in_bin = sum(place / 20 <= score < (place + 1) / 20 for score in scores)
    assert f"{place / 20:.2f} to {(place + 1) / 20:.2f} {in_bin} {in_bin / 4:.2f}%" in words
    positive = sum(score >= 0.5 for score in scores)
    assert f"pos {positive} {positive / 4:.2f}%" in words


def rows(output: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for path in output.glob("*.parquet") for row in pq.read_table(path).to_pylist()]


def test_a_run_that_finds_all_done_says_so(profiled: Path, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", USUAL)
    for _ in range(2):
        score_files(profiled, str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE)
    words = page_of(tmp_path / "out").words()
    assert "All shards were done by earlier runs: this run scored nothing new." in words
    assert "3 of 1 file, 3 done earlier" in words
    assert "per second" not in words


def test_a_version_of_a_registry_is_called_by_its_name(profiled: Path, tmp_path: Path) -> None:
    model = Model(tmp_path / "models" / "tickets")
    model.add(profiled, {"digest": "x"}, leave_out="parts")
    put(tmp_path, "a.csv", USUAL)
    score_files(model.path(1), str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE)
    assert "300 scores written with tickets, version 1." in page_of(tmp_path / "out").words()


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """The folder of a run with a small model that labels windows of 8 hours, which nobody has trained."""
    from rnnfast.models.window_config import WindowConfig
    from rnnfast.models.windows import build_window_model
    from rnnfast.scoring.scorers import save_sensors_run
    from rnnfast.training.run_folder import SeriesInfo
    from rnnfast.training.settings import WindowTraining

    info = SeriesInfo(channels=("temp", "load"), labels=("idle", "<busy>"), step=3_600_000_000,
                      time_column="when", group_column="device")  # fmt: skip
    run = tmp_path / "model"
    run.mkdir()
    config = WindowConfig(task="classify", lookback=8, hidden_size=4)
    model = build_window_model(config, 2, (), 2)
    save_sensors_run(run, model, training=WindowTraining(), series=info, data={})
    return run


def readings(folder: Path, name: str = "a.csv", shift: float = 0.0) -> None:
    """40 hours of two devices, and a row that cannot be read."""
    (folder / "in").mkdir(exist_ok=True)
    lines = [
        f"{10**9 + 3600 * i},{d},{shift + math.sin(i)},{math.cos(i)}"
        for i in range(40)
        for d in "xy"
    ]
    (folder / "in" / name).write_text(
        "\n".join(["when,device,temp,load", *lines, "soon,x,1,1", "late,x,1,1", ""])
    )


def test_the_page_of_forecasts(forecaster: Path, tmp_path: Path) -> None:
    readings(tmp_path)
    scorer = SensorScorer.load(forecaster)
    import numpy as np
    import torch

    known = Tally()
    tally_readings(known, np.random.default_rng(0).normal(size=(200, 2)), np.array([[0, 200]]),
                   scorer.series.own, (np.zeros(2), np.ones(2)))  # fmt: skip
    given = Tally()
    with torch.no_grad():
        outputs = scorer.model(torch.randn(50, 12, 2)).numpy()
    tally_forecasts(given, scorer.series.targets, outputs)
    Profile(known, given, Tally()).save(forecaster)
    output = tmp_path / "out"
    score_files(forecaster, str(tmp_path / "in"), None, output, every=4, execution=ALONE)
    page = page_of(output)
    assert_stands_alone(page)
    assert_figures_are_told(page, 3)
    words = page.words()
    # Windows that end with hours 12, 16, ... 40 of each device, 4 steps each.
    for phrase in (
        "64 forecasts written with model",
        "2 2.44% of the 82 rows of the input",
        "'when' must be a time stamp 2 a.csv, row 81",
        "readings per second",
        "Forecasts of temp: 0 is the mean of the training readings, 0, and 1 is their standard deviation, 1.",
        "How far the 80 scored readings are from the training part",
        "Missing passed temp in the scored rows",
        "every 4",
    ):
        assert phrase in words, phrase
    assert "review" not in words
    assert set(drift_of(output)["features"]) == {"temp", "load", "forecast of temp"}


def test_the_page_of_labels(classifier: Path, tmp_path: Path) -> None:
    readings(tmp_path)
    output = tmp_path / "out"
    score_files(classifier, str(tmp_path / "in"), None, output, execution=ALONE)
    page = page_of(output)
    assert_stands_alone(page)
    assert_figures_are_told(page, 2)  # without a profile no drift
    words = page.words()
    # Of 40 hours windows of 8 that begin every 4.
    assert "18 labels written with model" in words
    found = [row["label"] for row in rows(output)]
    for label in ("idle", "<busy>"):
        count = found.count(label)
        assert f"{label} {count} {100 * count / 18:.2f}%" in words
    assert "the model has no profile of them (profile.json)." in words


def test_the_page_is_there_before_the_gate_and_before_the_success(
    profiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, written = tmp_path / "out", []
    write = Folder.write

    def noted(self: Folder, name: str, content: bytes) -> None:
        written.append(name)
        write(self, name, content)

    monkeypatch.setattr(Folder, "write", noted)
    put(tmp_path, "a.csv", ["unheard of"] * 200)
    score_files(profiled, str(tmp_path / "in"), None, output, execution=ALONE)
    assert written[-4:] == [MANIFEST, DRIFT, REPORT, SUCCESS]
    assert "the scores were written anyway" in page_of(output).words()
    with pytest.raises(GateError):
        score_files(profiled, str(tmp_path / "in"), None, output, execution=ALONE, gate=True)
    assert written[-3:] == [MANIFEST, DRIFT, REPORT]
    assert not (output / SUCCESS).exists()
    assert "the scores are not marked as a success" in page_of(output).words()


def test_killed_before_its_page_the_next_run_writes_it(
    profiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    for selection in (FileSelection(), NEW):
        put(tmp_path, "a.csv", USUAL)
        arguments = (profiled, str(tmp_path / "in"), None, output)
        with monkeypatch.context() as patch:
            patch.setattr(report_step, "report_scores", dies)
            with pytest.raises(KeyboardInterrupt):
                score_files(*arguments, execution=ALONE, selection=selection)
        assert not (output / REPORT).exists()
        assert not (output / SUCCESS).exists()
        again = score_files(*arguments, execution=ALONE, selection=selection)
        assert again.judged
        assert (output / SUCCESS).exists()
        assert "How far the 300 scored rows are" in page_of(output).words()
        output.rename(tmp_path / f"out-{selection.new}")


def dies(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_page_that_cannot_be_written_leaves_the_one_before_and_no_success(
    profiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", USUAL)
    output = tmp_path / "out"
    score_files(profiled, str(tmp_path / "in"), None, output, execution=ALONE)
    before = (output / REPORT).read_bytes()
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if target.name == REPORT:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        score_files(profiled, str(tmp_path / "in"), None, output, execution=ALONE)
    assert (output / REPORT).read_bytes() == before
    assert not (output / SUCCESS).exists()
    assert not list(output.glob(".*"))


def test_the_page_and_the_drift_of_a_folder_are_of_the_last_run_that_added_something(
    profiled: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def score(model: Path = profiled, **options: Any) -> Any:
        places = str(tmp_path / "in"), None, output
        return score_files(model, *places, execution=ALONE, selection=NEW, **options)

    def left() -> tuple[bytes, bytes]:
        return (output / REPORT).read_bytes(), (output / DRIFT).read_bytes()

    put(tmp_path, "a.csv", USUAL)
    assert score().judged
    first = left()
    [run] = drift_of(output)["runs"]
    assert [path.stem for path in (output / "runs").iterdir()] == [run]
    # Neither a run that finds nothing nor one that finds a copy adds anything.
    assert not score().judged
    put(tmp_path, "copy.csv", USUAL)
    copied = score()
    assert (copied.judged, copied.nothing[:26]) == (False, "nothing new, 1 seen again;")
    assert left() == first
    # A file without a row was taken all the same.
    put(tmp_path, "empty.csv", [])
    assert score().judged
    assert (drift_of(output)["rows"], drift_of(output)["features"]) == (0, {})
    assert drift_of(output)["runs"] != [run]
    words = page_of(output).words()
    assert "0 scores written with model" in words
    assert "there were no rows" in words
    # What a closed gate keeps back is judged, and told, with what is new.
    put(tmp_path, "b.csv", ["unheard of"] * 50)
    with pytest.raises(GateError):
        score(gate=True)
    (output / REPORT).unlink()
    put(tmp_path, "c.csv", ["unheard as well"] * 70)
    with pytest.raises(GateError):
        score(gate=True)
    drift = drift_of(output)
    assert (drift["rows"], len(drift["runs"])) == (120, 2)
    words = page_of(output).words()
    assert "70 scores written with model" in words
    assert "It holds the scores of 4 files in 5 shards; 5 runs have written 420 scores." in words
    assert "cover the rows of 2 runs: this one and 1 earlier, which was not accepted" in words
    assert_stands_alone(page_of(output))


def test_files_that_cannot_be_read_are_told(profiled: Path, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", USUAL)
    put(tmp_path, "b.csv", []).write_text("other\n1\n")
    with pytest.raises(InputError, match="1 of 2 new ones cannot"):
        score_files(
            profiled, str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE, selection=NEW
        )
    words = page_of(tmp_path / "out").words()
    assert "1 file could not be read; the others were scored." in words
    assert "b.csv --text-column must name a column of" in words


def test_a_run_that_was_killed_before_it_said_it_was_done(profiled: Path, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", USUAL)
    arguments = (profiled, str(tmp_path / "in"), None, tmp_path / "out")
    score_files(*arguments, execution=ALONE, selection=NEW)
    (tmp_path / "out" / SUCCESS).unlink()
    assert score_files(*arguments, execution=ALONE, selection=NEW).nothing
    assert (tmp_path / "out" / SUCCESS).exists()


def test_a_training_leaves_its_scores_to_its_own_report(profiled: Path, tmp_path: Path) -> None:
    put(tmp_path, "a.csv", USUAL)
    score_files(
        profiled, str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE, report=False
    )
    assert (tmp_path / "out" / SUCCESS).exists()
    assert not (tmp_path / "out" / REPORT).exists()


def test_many_reasons_are_summed_up(profiled: Path, tmp_path: Path) -> None:
    bad = [",".join("x" * (2 + i)) for i in range(30)] * 2
    put(tmp_path, "a.csv", USUAL, *bad)
    score_files(profiled, str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE)
    words = page_of(tmp_path / "out").words()
    assert "another reason 20 a.csv, row 321" in words
    assert "1 fields expected, found 2 2 a.csv, row 301" in words


def test_keys_in_an_address_are_not_told() -> None:
    assert redacted("s3://KEY:SECRET@bucket/in/*.csv?region=eu&x=y") == "s3://bucket/in/*.csv"
    assert redacted("in/*.csv") == "in/*.csv"


def test_the_command_line_names_the_page_and_a_dry_run_writes_none(
    server: None, run_cli: RunCli, profiled: Path, tmp_path: Path
) -> None:
    put(tmp_path, "a.csv", USUAL)
    options = ["--model", profiled, "--input", tmp_path / "in", "--output", tmp_path / "out"]
    result = run_cli("score", *options, "--workers", 1, "--dry-run")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out").exists()
    result = run_cli("score", *options, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert f"Report: {tmp_path / 'out' / REPORT}" in result.stdout
    assert (tmp_path / "out" / REPORT).exists()


@pytest.mark.parametrize("error", ["gate", "file"])
def test_what_was_judged_is_shown_and_told_where_an_error_ends_the_run(
    server: None,
    run_cli: RunCli,
    profiled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
) -> None:
    from flows.orchestration import artifacts, events

    told: list[str] = []
    tables: dict[str, Any] = {}
    monkeypatch.setattr(events, "emit_event", lambda event, resource, payload: told.append(event))
    monkeypatch.setattr(
        artifacts, "create_table_artifact", lambda rows, key, _: tables.update({key: rows})
    )
    monkeypatch.setattr(
        artifacts, "create_markdown_artifact", lambda text, key, _: tables.update({key: text})
    )
    put(tmp_path, "a.csv", ["unheard of"] * 200)
    options = ["--model", profiled, "--input", tmp_path / "in", "--output", tmp_path / "out"]
    options += ["--workers", 1, "--new", "--settle", 0]
    if error == "file":
        put(tmp_path, "b.csv", []).write_text("other\n1\n")
    result = run_cli("score", *options, *(["--gate"] if error == "gate" else []))
    assert result.exit_code == 2, result.output
    assert told == [events.DRIFTED]
    figures = {row["what"]: row["count"] for row in tables["score-figures"]}
    assert (figures["files"], figures["rows scored"]) == (2 if error == "file" else 1, 200)
    assert "failed" in {row["status"] for row in tables["score-drift"]}
    assert "(data:image/svg+xml;base64," in tables["score-report"]
    if error == "file":
        # Only the file that cannot be read is left, and nothing is judged or told again.
        assert run_cli("score", *options).exit_code == 2
        assert len(told) == 1
        planned = run_cli("score", *options, "--dry-run")
        assert planned.exit_code == 0, planned.output
        assert "Would fail after that, since b.csv cannot be read: --text-column" in planned.stdout


def test_a_page_that_says_why_a_gate_is_closed_is_shown(
    server: None, run_cli: RunCli, profiled: Path, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client

    put(tmp_path, "a.csv", ["unheard of"] * 200)
    options = ["--model", profiled, "--input", tmp_path / "in", "--output", tmp_path / "gated"]
    assert run_cli("score", *options, "--workers", 1, "--gate").exit_code == 2
    with get_client(sync_client=True) as client:
        texts = [str(a.data) for a in client.read_artifacts() if a.key == "score-report"]
    [text] = [text for text in texts if f"`{tmp_path}/gated/report.html`" in text]
    assert text.count("(data:image/svg+xml;base64,") == 3
