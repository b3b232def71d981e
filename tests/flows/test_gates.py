"""Rows are looked at before training and after scoring; a warning is said, a closed gate ends the job."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs import score_files
from safetensors.numpy import load_file, save_file
from typer.testing import Result

from flows.errors import GateError
from flows.parameters import Execution, FileSelection, SensorsData
from flows.steps.prepare import partition as partition_step
from flows.steps.prepare.check_data import check_reviews_data, check_sensors_data
from flows.steps.prepare.reviews import PreparedReviews
from flows.steps.prepare.series import PreparedSeries, prepare_series
from flows.steps.score.job import Summary
from flows.store.outputs import DRIFT, MANIFEST, SUCCESS
from rnnfast.evaluation.checks import Limits
from rnnfast.evaluation.drift import Tally
from rnnfast.evaluation.profiles import Profile, tally_scores, tally_texts
from rnnfast.labels import Classes
from rnnfast.models.config import ModelConfig
from rnnfast.models.presets import TextFacts
from rnnfast.models.window_config import WindowConfig
from rnnfast.scoring.scorers import Scorer
from rnnfast.text.vocabulary import Vocabulary

RunCli = Callable[..., Result]
USUAL = [f"good {'bad ' * (i % 5)}good, good" for i in range(300)]
OTHER = [f"unheard of {'words, ' * (i % 9)} très déjà" for i in range(300)]
ALONE = Execution(workers=1)
LIMITS = Limits()
OFF = Limits(**dict.fromkeys(("psi", "unknown", "outside", "cut"), "off"))


@pytest.fixture
def profiled(run_dir: Path) -> Path:
    """The folder of a run that was trained on texts like USUAL."""
    scorer = Scorer.load(run_dir)
    texts = pa.array(USUAL)
    tallies = [tally_texts(texts, scorer.vocabulary, scorer.config.sequence_length) for _ in "abc"]
    tally_scores(tallies[1], scorer.score(texts))
    Profile(*tallies).save(run_dir)
    return run_dir


def write(path: Path, texts: list[str]) -> str:
    pq.write_table(pa.table({"text": texts}), path)
    return str(path)


def drift_of(output: Path) -> dict[str, object]:
    return json.loads((output / DRIFT).read_text())


def test_texts_are_counted_whatever_they_hold() -> None:
    texts = pa.array(["good film", "", " <br /> ...", "x y z bad bad bad", "\N{PILE OF POO}", "é"])
    tally = tally_texts(texts, Vocabulary(["[UNK]", "pad", "good", "bad"]), 4)
    # A text without a word is blank; of the cut one, four of its words are looked at.
    assert tally.counts == {"rows": 6, "words": 8, "unknown": 6, "blank": 2, "cut": 1}
    assert (tally.features["words"].low, tally.features["words"].high) == (0, 4)
    assert tally.features["unknown"].high == 1
    assert tally.features["non_ascii"].high == 0.75
    assert {each.total for each in tally.features.values()} == {6}


def test_rows_like_those_of_training_pass(profiled: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    summary = score_files(profiled, write(tmp_path / "x.parquet", USUAL), None, output, gate=True)
    assert summary.checks == "passed"
    content = drift_of(output)
    assert content["status"] == "passed"
    assert set(content["features"]) == {"words", "characters", "unknown", "non_ascii", "score"}
    assert max(feature["psi"] for feature in content["features"].values()) < 1e-9
    assert (output / SUCCESS).exists()


def test_drift_is_said_and_does_not_depend_on_the_workers(
    profiled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "x.parquet", OTHER)
    found = []
    for workers, rows in ((1, 1000), (1, 70), (2, 70)):
        output = tmp_path / f"{workers}-{rows}"
        execution = Execution(workers=workers, shard_rows=rows)
        summary = score_files(profiled, path, None, output, execution=execution)
        assert summary.checks == "failed"
        assert (output / SUCCESS).exists()  # without a gate
        found.append((output / DRIFT).read_bytes())
    assert found[0] == found[1] == found[2]
    assert "check failed: psi of unknown is" in caplog.text
    assert drift_of(output)["features"]["unknown"]["psi"] > 1
    # What was done before is counted again, from what it left.
    again = score_files(profiled, path, None, output, execution=execution)
    assert again.skipped == again.shards == 5
    assert (output / DRIFT).read_bytes() == found[0]


def test_a_few_rows_are_no_drift(profiled: Path, tmp_path: Path) -> None:
    # Their index is large, but so it would be for any three rows.
    output = tmp_path / "out"
    score_files(profiled, write(tmp_path / "x.parquet", USUAL[:3]), None, output)
    content = drift_of(output)
    assert content["features"]["words"]["psi"] > 0.1
    assert content["status"] == "passed"


def test_a_closed_gate_leaves_the_scores_and_does_not_call_them_good(
    profiled: Path, tmp_path: Path
) -> None:
    path, output = write(tmp_path / "x.parquet", OTHER), tmp_path / "out"
    with pytest.raises(
        GateError, match=r"psi of unknown is .* \(at most: warning 0.1, limit 0.25\)"
    ):
        score_files(profiled, path, None, output, execution=ALONE, gate=True)
    assert (output / MANIFEST).exists()
    assert not (output / SUCCESS).exists()
    assert drift_of(output)["status"] == "failed"
    summary = score_files(profiled, path, None, output, execution=ALONE, limits=OFF, gate=True)
    assert (summary.skipped, summary.checks) == (1, "passed")
    assert (output / SUCCESS).exists()


def test_what_a_closed_gate_kept_back_is_judged_again_with_what_is_new(
    profiled: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    output = tmp_path / "out"

    def score(limits: Limits = LIMITS) -> Summary:
        return score_files(
            profiled,
            str(tmp_path / "in"),
            None,
            output,
            execution=ALONE,
            selection=FileSelection(new=True, settle=0),
            limits=limits,
            gate=True,
        )

    write(tmp_path / "in" / "a.parquet", USUAL)
    assert score().checks == "passed"
    assert (output / SUCCESS).exists()
    write(tmp_path / "in" / "b.parquet", OTHER)
    with pytest.raises(GateError, match="unknown of the scored rows is 1 "):
        score()
    scored = {path: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    assert len(scored) == 2
    # Nothing is new, and yet that is no success; nor are good rows beside the bad ones.
    with pytest.raises(GateError, match="unknown of the scored rows is 1 "):
        score()
    write(tmp_path / "in" / "c.parquet", [*USUAL, "good"])
    with pytest.raises(GateError, match="psi of unknown"):
        score()
    assert drift_of(output)["rows"] == 601
    assert not (output / SUCCESS).exists()
    accepted = score(OFF)
    assert (accepted.shards, accepted.checks) == (0, "passed")
    assert (output / SUCCESS).exists()
    now = {path: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    assert scored.items() < now.items()
    assert len(now) == 3
    write(tmp_path / "in" / "d.parquet", [*USUAL, "bad"])
    assert score().checks == "passed"
    assert drift_of(output)["rows"] == 301
    assert score().nothing


class Versions:
    """Runs with two versions of a model, which add to a folder with a gate."""

    def __init__(self, profiled: Path, folder: Path) -> None:
        self.folder, self.output = folder, folder / "out"
        self.first, self.second = (folder / "tickets" / number for number in "12")
        for version in (self.first, self.second):
            shutil.copytree(profiled, version)
            (version / "version.json").write_text("{}")
        # Another model by its digest, and yet its scores are like those of training.
        weights = load_file(self.second / "model.safetensors")
        save_file(
            {k: v * np.float32(1 + 1e-5) for k, v in weights.items()},
            self.second / "model.safetensors",
        )
        (folder / "in").mkdir()

    def put(self, name: str, texts: list[str]) -> None:
        write(self.folder / "in" / f"{name}.parquet", texts)

    def score(self, version: Path, limits: Limits = LIMITS, gate: bool = True) -> Summary:
        new = FileSelection(new=True, settle=0)
        places = str(self.folder / "in"), None, self.output
        return score_files(
            version, *places, execution=ALONE, selection=new, limits=limits, gate=gate
        )

    @property
    def succeeded(self) -> bool:
        return (self.output / SUCCESS).exists()


@pytest.fixture
def versions(profiled: Path, tmp_path: Path) -> Versions:
    """One whose gate is closed for what the first version scored."""
    found = Versions(profiled, tmp_path)
    found.put("a", OTHER)
    with pytest.raises(GateError, match="unknown of the scored rows is 1 "):
        found.score(found.first)
    return found


def test_a_promotion_opens_no_gate(versions: Versions) -> None:
    told = f"rows of version 1 of tickets are not accepted, .*--model {versions.first} judges them"
    for _ in range(2):
        with pytest.raises(GateError, match=told):
            versions.score(versions.second)
    versions.put("b", USUAL)
    with pytest.raises(GateError, match=told):
        versions.score(versions.second)
    assert not versions.succeeded
    assert drift_of(versions.output)["rows"] == 300  # those of the second version
    with pytest.raises(GateError, match="unknown of the scored rows is 1 "):
        versions.score(versions.first)
    # Those of the second version have been accepted, and are not judged by the first.
    accepted = versions.score(versions.first, OFF)
    assert accepted.judged
    assert drift_of(versions.output)["rows"] == 300
    assert versions.succeeded
    assert versions.score(versions.second).nothing


def test_the_gate_that_each_version_has_closed(versions: Versions) -> None:
    versions.put("b", [*OTHER, "more"])
    with pytest.raises(GateError, match="unknown of the scored rows is 1 "):
        versions.score(versions.second)
    with pytest.raises(GateError, match=f"version 2 of tickets .*--model {versions.second} judges"):
        versions.score(versions.first, OFF)
    assert not versions.succeeded
    assert versions.score(versions.second, OFF).judged
    assert drift_of(versions.output)["rows"] == 301
    assert versions.succeeded
    assert versions.score(versions.first).nothing


def test_without_the_gate_another_version_accepts_all(versions: Versions) -> None:
    versions.score(versions.second, gate=False)
    assert versions.succeeded
    assert versions.score(versions.second).nothing


def test_rows_that_are_gone_close_no_gate(versions: Versions) -> None:
    versions.put("a", USUAL)
    assert versions.score(versions.second).checks == "passed"
    assert versions.succeeded
    assert versions.score(versions.second).nothing


def test_a_gate_of_a_model_that_is_gone(versions: Versions) -> None:
    digest = Scorer.load(versions.first).digest
    shutil.rmtree(versions.first)
    with pytest.raises(GateError, match=f"no longer in {versions.first}, its digest was {digest}"):
        versions.score(versions.second)
    # Another model has taken its place.
    versions.second.rename(versions.first)
    with pytest.raises(GateError, match=f"no longer in {versions.first}, its digest was {digest}"):
        versions.score(versions.first)


def test_a_run_without_a_profile_is_checked_without_drift(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = score_files(run_dir, write(tmp_path / "x.parquet", OTHER), None, tmp_path / "out")
    assert summary.checks == "failed"  # since nearly all words are unknown
    assert drift_of(tmp_path / "out")["features"] == {}
    assert "has no profile of its training rows" in caplog.text


def hours(path: Path, count: int, temp: str = "{0}", devices: str = "xy") -> None:
    """So many hours of each device, all readings of which look like `temp`."""
    lines = [f"{10**9 + 3600 * i},{d},{temp.format(i)},1" for i in range(count) for d in devices]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["when,device,temp,load", *lines, ""]))


def test_a_channel_that_is_silent_is_missing_whole(forecaster: Path, tmp_path: Path) -> None:
    hours(tmp_path / "in" / "a.csv", 40, temp="")
    with pytest.raises(GateError, match="missing of temp in the scored rows is 1 "):
        score_files(forecaster, str(tmp_path / "in"), None, tmp_path / "out",
                    execution=ALONE, selection=FileSelection(new=True, settle=0), gate=True)  # fmt: skip
    assert not (tmp_path / "out" / SUCCESS).exists()


def test_what_is_missing_of_a_shard_without_a_window_counts(
    forecaster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours(tmp_path / "in" / "a.csv", 40, temp="", devices="abcdefgh")
    hours(tmp_path / "in" / "b.csv", 40, devices="y")
    monkeypatch.setattr(partition_step, "PARTITION_BYTES", 1000)
    score_files(forecaster, str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE)
    shards = json.loads((tmp_path / "out" / MANIFEST).read_text())["shards"]
    assert len([shard for shard in shards if shard["input_rows"] and not shard["rows"]]) > 1
    found = {check["of"]: check for check in drift_of(tmp_path / "out")["checks"]}  # type: ignore[attr-defined]
    assert found["temp in the scored rows"]["value"] == 8 / 9
    assert found["load in the scored rows"]["value"] == 0


def test_a_device_without_readings_in_any_common_row_has_no_forecast(
    forecaster: Path, tmp_path: Path
) -> None:
    hours(tmp_path / "in" / "a.csv", 40, devices="x")
    hours(tmp_path / "in" / "b.csv", 40, temp="", devices="y")
    score_files(forecaster, str(tmp_path / "in"), None, tmp_path / "out", execution=ALONE)
    found = {check["of"]: check for check in drift_of(tmp_path / "out")["checks"]}  # type: ignore[attr-defined]
    assert (found["the devices"]["rule"], found["the devices"]["value"]) == ("short", 0.5)


def test_the_gate_of_the_command_line(
    server: None, run_cli: RunCli, profiled: Path, tmp_path: Path
) -> None:
    options = ["--model", profiled, "--input", write(tmp_path / "x.parquet", OTHER)]
    options += ["--output", tmp_path / "out", "--workers", 1]
    result = run_cli("score", *options)
    assert result.exit_code == 0, result.output
    assert "failed, in drift.json" in result.stdout
    result = run_cli("score", *options, "--gate", "--limit", "unknown=0.1,0.2")
    assert result.exit_code == 2
    assert "(at most: warning 0.1, limit 0.2)" in result.output
    result = run_cli("score", *options, "--limit", "heat=1")
    assert result.exit_code == 2
    assert "--limit must be RULE=WARNING,LIMIT, once for a RULE of label_share" in result.output


def test_data_that_breaks_a_rule_is_not_trained_on(
    server: None, run_cli: RunCli, tiny: list[str], reviews_csv: Path, tmp_path: Path
) -> None:
    options = ["--dataset", reviews_csv, *tiny, "--output", tmp_path / "run"]
    limit = ["--limit", "unknown=0.0001,0.001"]
    models = tmp_path / "models"
    result = run_cli("reviews", *options, *limit, "--register", "tiny", "--registry", models)
    assert result.exit_code == 2
    assert not models.exists()
    assert "unknown of validation rows is 0." in result.output
    assert "limit 0.001" in result.output
    assert not (tmp_path / "run").exists()
    result = run_cli("reviews", *options, *limit, "--no-gate")
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {check["status"] for check in metrics["checks"]} >= {"passed", "failed"}
    assert "and the run continued" in (tmp_path / "run" / "report.html").read_text()
    assert metrics["words"]["words"]
    assert metrics["drift"]["rows"] == metrics["test"]["rows"]
    assert all(
        len(example["effects"]) == len(example["text"].split())
        for kind in metrics["examples"].values()
        for example in kind
    )


def prepared(tmp_path: Path, lines: list[str]) -> PreparedSeries:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["when,temp,load", *lines]) + "\n")
    (tmp_path / "parts").mkdir()
    data = SensorsData(dataset=str(path), time_column="when", features="temp,load,calendar")
    config = WindowConfig(lookback=12, horizon=4, hidden_size=4)
    return prepare_series(data, None, lambda _: config, tmp_path / "parts")


def test_readings_are_profiled_and_checked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        f"2024-01-{1 + i // 24:02}T{i % 24:02}:00,{'' if i % 10 == 0 else i % 7},{-9999 if i % 50 == 0 else i % 11}"
        for i in range(700)
    ]
    arguments = tmp_path / "parts", prepared(tmp_path, lines)
    with caplog.at_level(logging.INFO, logger="flows"):
        found, profile = check_sensors_data(*arguments, Limits(), True)
    assert "check warns: missing of temp in the readings is 0.1" in caplog.text
    checks = {(each.rule, each.of): each for each in found}
    assert checks["missing", "load in the readings"].value == 0.02
    assert checks["missing", "load in the readings"].status == "passed"
    assert set(profile.training.features) == {"temp", "load"}
    steps = [each.counts["steps"] for each in (profile.training, profile.validation, profile.test)]
    # The parts reach back into the one before, by a window's past.
    assert sum(steps) == 699 + 2 * 12
    assert profile.training.features["temp"].quantile(0.5) == pytest.approx(0, abs=0.3)
    with pytest.raises(GateError, match=r"missing of temp in the readings is 0\.1"):
        check_sensors_data(*arguments, Limits(missing="0.01,0.05"), True)


def test_labels_that_are_rare_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("train", "validation", "test"):
        labels = pa.array([i % 50 == 0 for i in range(200)]).cast(pa.int8())
        pq.write_table(pa.table({"text": ["good"] * 200, "label": labels}), tmp_path / f"{part}.parquet")  # fmt: skip
    rows = {"duplicates_in_train_and_test": 30, "test_rows": 200}
    target = Classes(names=("neg", "pos"))
    about = PreparedReviews(TextFacts(200, 0.0, 1), target, {}, rows)
    Vocabulary(["[UNK]", "pad", "good"]).save(tmp_path / "words.txt")
    arguments = tmp_path, about, tmp_path / "words.txt", ModelConfig()
    check_reviews_data(*arguments, Limits(), True)
    assert "check warns: label_share of training rows is 0.02" in caplog.text
    assert "check warns: duplicates of test rows is 0.15" in caplog.text
    limits = Limits(label_share=(0.1, 0.03))
    with pytest.raises(GateError, match=r"0.02 \(at least: warning 0.1, limit 0.03\)"):
        check_reviews_data(*arguments, limits, True)
    check_reviews_data(*arguments, limits, False)


def test_a_profile_of_outputs_is_that_of_rows_not_trained_on() -> None:
    empty = Profile(Tally(), Tally(), Tally())
    assert empty.reference == {}
    words = Vocabulary(["[UNK]", "pad", "good"])
    tallies = [tally_texts(pa.array(USUAL[:rows]), words, 9) for rows in (30, 20, 10)]
    for tally, score in zip(tallies, (0.1, 0.2, 0.3), strict=True):
        tally_scores(tally, pa.array([score]).to_numpy())
    training, validation, test = tallies
    del training.features["score"]
    reference = Profile(training, validation, test).reference
    assert (reference["words"].total, reference["unknown"].total) == (30, 20)
    assert reference["score"].high == 0.2
    del validation.features["score"]
    assert Profile(training, validation, test).reference["score"].high == 0.3
