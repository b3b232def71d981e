import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jobs import score_files

from flows.orchestration import artifacts, events
from flows.steps.report.publish import dated
from flows.store.registry import Registered
from flows.store.storage import Folder
from rnnfast.reports.training import write_report

RUN = json.loads((Path(__file__).parents[1] / "report_run.json").read_text())


def test_plots_of_a_report_stand_alone(tmp_path: Path) -> None:
    found = write_report(tmp_path / "report.html", RUN["config"], RUN["metrics"])
    page = (tmp_path / "report.html").read_text()
    assert len(found) == page.count("<svg ") >= 3
    for label, svg in found:
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("aria-label") == label != ""
        assert float(root.get("width", 0)) > 100
        # Each colour that the drawing asks for is one that it brings along.
        drawn = svg.partition("</style>")[2]
        assert set(re.findall(r"var\((--\w+)\)", drawn)) <= set(re.findall(r"(--\w+):", svg))


def test_figures_are_in_columns_by_part() -> None:
    metrics = {
        "test": {"rows": 10, "accuracy": 0.123456789, "confusion_matrix": [[1]]},
        "validation": {"accuracy": 0.5},
        "baseline": {"ngrams": {"rows": 10, "accuracy": 0.25}},
        "seconds": {"total": 1.5},
    }
    assert artifacts.figures(metrics) == [
        {"figure": "rows", "test": 10, "validation": None, "ngrams": 10},
        {"figure": "accuracy", "test": 0.12346, "validation": 0.5, "ngrams": 0.25},
        {"figure": "seconds", "test": 1.5},
    ]


def test_where_a_report_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def where(folder: str) -> str:
        return artifacts.where(Folder.at(folder, "--output"))

    monkeypatch.delenv(artifacts.ADDRESS, raising=False)
    assert where("runs/a") == f"`{tmp_path}/runs/a/report.html`"
    monkeypatch.setenv(artifacts.ADDRESS, "http://127.0.0.1:1")
    assert "(http://127.0.0.1:1/runs/a/report.html)" in where("runs/a")
    assert "(http://127.0.0.1:1/scores/a%20b/report.html)" in where("scores/a b")
    for elsewhere in ("other", "runs/../other", str(tmp_path.parent)):
        assert "http" not in where(elsewhere)
    bucket = "s3://key:secret@bucket/scores?endpoint_override=127.0.0.1:1"
    assert where(bucket) == "`s3://bucket/scores/report.html`"


def test_the_report_of_scores_is_shown(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("text\ngood\nbad\n")
    done = score_files(run_dir, str(tmp_path / "in.csv"), None, tmp_path / "out")
    shown: list[tuple[str, str]] = []
    monkeypatch.setattr(
        artifacts, "create_markdown_artifact", lambda text, key, _: shown.append((key, text))
    )
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda *_: None)
    artifacts.show_scoring(done, str(tmp_path / "out"))
    [(key, text)] = shown
    assert key == "score-report"
    assert (
        text.count("(data:image/svg+xml;base64,") == 2
    )  # scores and time, without a profile no drift
    assert f"`{tmp_path}/out/report.html`" in text


def test_a_run_does_not_depend_on_what_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts.logger, "disabled", False)
    artifacts.logger.addHandler(caplog.handler)
    try:
        artifacts.show_training("reviews", tmp_path / "none", {}, [])
    finally:
        artifacts.logger.removeHandler(caplog.handler)
    assert "continues without its artifacts" in caplog.text


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        events, "emit_event", lambda event, resource, payload: calls.append((event, payload))
    )
    return calls


def test_drift_is_told_where_a_check_does_not_pass(told: list[tuple[Any, ...]]) -> None:
    passed = {"rule": "psi", "of": "length", "value": 0.01, "status": "passed"}
    moved = {"rule": "psi", "of": "score", "value": 0.3, "status": "failed"}
    events.tell_drift("scores", {"status": "passed", "checks": [passed]})
    assert told == []
    events.tell_drift("scores", {"status": "failed", "checks": [passed, moved]})
    assert told == [(events.DRIFTED, {"status": "failed", "reason": "psi of score 0.3"})]


def test_drift_is_told_without_the_keys_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    resources: list[dict[str, str]] = []
    monkeypatch.setattr(
        events, "emit_event", lambda _, resource, payload: resources.append(resource)
    )
    moved = {"rule": "psi", "of": "score", "value": 0.3, "status": "failed"}
    events.tell_drift("s3://KEY:SECRET@bucket/x?region=eu", {"status": "failed", "checks": [moved]})
    assert [resource["prefect.resource.name"] for resource in resources] == ["s3://bucket/x"]
    assert "SECRET" not in str(resources)


def test_a_promotion_is_told_and_a_candidate_is_not(told: list[tuple[Any, ...]]) -> None:
    events.tell_promotion(Registered("tickets", 2, "candidate", "worse"))
    events.tell_promotion(Registered("tickets", 1, "production", "as before"))
    assert told == []
    events.tell_promotion(Registered("tickets", 3, "production", "better", promoted=True))
    assert told == [(events.PROMOTED, {"version": 3, "reason": "better"})]


def test_the_time_in_the_name_of_a_run() -> None:
    assert re.fullmatch(r"runs/a-\d{8}-\d{6}", str(dated(Path("runs/a-{time}"))))
    assert dated(Path("runs/a")) == Path("runs/a")
