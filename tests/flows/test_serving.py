import http.server
import json
import queue
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest
import yaml

from flows.cli.serve import SCHEDULES
from flows.orchestration.automations import notification_block, put_automations
from flows.store.registry import Model
from tests.flows.browser import TEXT, browser
from tests.flows.served import Served, free_port, readings, served_in

EVERY_MINUTE = {"cron": "* * * * *", "timezone": "UTC"}
SCREENSHOTS = Path(__file__).parents[2] / "build/screenshots"
# What Prefect's own page asks for and its server does not have.
NOT_OURS = ("/favicon.ico", "/ico/undefined.svg")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_in(tmp_path_factory.mktemp("served"), EVERY_MINUTE, {"interval": 15}) as one:
        one.put("first.csv", 30)
        yield one


@pytest.fixture(scope="module")
def trained(served: Served) -> dict[str, Any]:
    """The first training that a cron schedule has started and that is done; it starts no other."""
    first = served.wait(lambda: served.runs("train-reviews"))[0]
    served.pause("train-reviews")
    return dict(first)


def first_run(served: Served) -> Path:
    """The folder of the first training: each is named after its time."""
    return min((served.folder / "runs").glob("reviews-*"))


def artifacts(served: Served, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = served.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    return {each["key"]: each for each in found if each["task_run_id"] is None}


@pytest.mark.parametrize("deployment", yaml.safe_load(SCHEDULES.read_text())["deployments"])
def test_the_flows_take_the_parameters_of_the_schedules(deployment: dict[str, Any]) -> None:
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    flow.validate_parameters(deployment["parameters"])


def test_a_deployment_that_the_file_leaves_out_goes(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    from flows.orchestration.deployment import deploy

    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))  # for `prefect deploy`
    content = yaml.safe_load(SCHEDULES.read_text())
    path = tmp_path / "schedules.yaml"

    def deployed(pool: str, *names: str) -> list[str]:
        """What there is after these were deployed, as flow/deployment."""
        chosen = [each for each in content["deployments"] if each["name"] in names]
        for each in chosen:
            each["work_pool"]["name"] = pool
        path.write_text(yaml.safe_dump(content | {"deployments": chosen}))
        deploy(path, [pool], None)
        with get_client(sync_client=True) as client:
            return sorted(each.name for each in client.read_deployments())

    assert deployed("others", "clean") == ["clean"]
    of_reviews = ("score-reviews", "train-reviews")
    both = ["clean", "score-reviews", "train-reviews"]
    assert deployed("mine", *of_reviews, "train-sensors") == [*both, "train-sensors"]
    assert deployed("mine", *of_reviews) == both
    # Of the same name, and of another flow.
    train = next(each for each in content["deployments"] if each["name"] == "train-reviews")
    train |= {
        "entrypoint": "flows.sensors.sensors",
        "parameters": {"request": {"output": "runs/sensors"}},
    }
    assert deployed("mine", *of_reviews) == both


def test_a_schedule_fires_and_trains(served: Served, trained: dict[str, Any]) -> None:
    assert trained["auto_scheduled"]
    assert trained["created_by"]["type"] == "SCHEDULE"
    assert {"rnnfast", "reviews", "training"} <= set(trained["tags"])
    run = first_run(served)
    assert (run / "report.html").is_file()
    shown = artifacts(served, trained)
    table = json.loads(shown["reviews-figures"]["data"])
    by_figure = {line["figure"]: line for line in table}
    metrics = json.loads((run / "metrics.json").read_text())
    assert by_figure["accuracy"]["test"] == pytest.approx(metrics["test"]["accuracy"], rel=1e-4)
    text = shown["reviews-report"]["data"]
    assert text.count("(data:image/svg+xml;base64,") >= 3
    assert f"http://127.0.0.1:{served.port + 1}/runs/{run.name}/report.html" in text


def test_what_is_scheduled(served: Served) -> None:
    found = {each["name"]: each for each in served.ask("deployments/filter")}
    names = [
        *("clean", "pretrain-reviews", "score-reviews", "score-sensors"),
        *("train-reviews", "train-sensors"),
    ]
    assert sorted(found) == names
    for each in found.values():
        assert each["global_concurrency_limit"]["limit"] == 1
        assert each["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        assert each["work_pool_name"] == "rnnfast"


def test_no_other_serves_from_the_same_database(served: Served, tmp_path: Path) -> None:
    second = served.command(tmp_path, free_port())
    done = subprocess.run(
        second, env=served.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    rule = "PREFECT_HOME must name a folder that no other serve has in use, got: "
    assert rule in " ".join(done.stderr.split())


def test_what_is_new_is_scored_with_what_was_promoted(
    served: Served, trained: dict[str, Any]
) -> None:
    assert Model(served.folder / "models/reviews").standing().production == 1
    served.wait(lambda: "rnnfast.model.promoted reviews: " in served.said())
    first = served.wait(lambda: served.runs("score-reviews"))[0]
    assert served.scored() == Counter(f"first.csv-{i}" for i in range(30))
    shown = artifacts(served, first)
    counts = json.loads(shown["score-figures"]["data"])
    assert {line["what"]: line["count"] for line in counts}["rows scored"] == 30
    text = shown["score-report"]["data"]
    assert text.count("(data:image/svg+xml;base64,") == 3  # scores, drift, time
    report = f"http://127.0.0.1:{served.port + 1}/scores/reviews/report.html"
    assert report in text
    with urlopen(report) as answer:
        assert (
            "<strong>30</strong> scores written with reviews, version 1." in answer.read().decode()
        )
    nothing = served.wait(lambda: served.runs("score-reviews")[1:])[0]
    assert nothing["state"]["message"]
    assert "score-report" not in artifacts(served, nothing)
    assert served.scored().total() == 30
    served.pause("score-reviews")


def test_what_nobody_needs_is_looked_for(served: Served) -> None:
    served.run("clean")
    shown = artifacts(served, served.runs("clean")[0])
    assert shown["clean-removed"]["description"] == "Removed 0 folders and files, 0 bytes"


def test_a_failure_is_told(served: Served) -> None:
    """Of the sensors no model is in production, before one is trained."""
    served.start("score-sensors")
    failed = served.wait(lambda: served.runs("score-sensors", "FAILED"))[0]
    reason = failed["state"]["message"]
    assert "got: 'sensors'" in reason
    line = f"prefect.flow-run.Failed {failed['name']}: {reason}"
    served.wait(lambda: line in served.said())


def test_what_has_drifted_is_told(served: Served) -> None:
    served.wait(lambda: "rnnfast.data.drifted scores/reviews: psi of words" in served.said())


def test_sensors_are_trained_and_scored(served: Served) -> None:
    served.run("train-sensors")
    assert Model(served.folder / "models/sensors").standing().production == 1
    served.put_file(Path("sensors/new.csv"), readings(range(600, 640)))
    served.run("score-sensors")
    files = [*(served.folder / "scores/sensors").glob("*.parquet")]
    assert sum(pq.read_metadata(file).num_rows for file in files) == 2  # ahead of the last reading


def test_automations_that_are_up_to_date_stay_as_they_are(served: Served) -> None:
    before = served.ask("automations/filter")
    with served.client() as client:
        put_automations(client, None)
    assert len(before) == 10
    assert served.ask("automations/filter") == before


def test_a_notification_is_sent(served: Served) -> None:
    """By a block of Prefect's to an address of this machine."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    received: queue.Queue[dict[str, str]] = queue.Queue()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            received.put(json.loads(self.rfile.read(size)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        with served.client() as client:
            CustomWebhookNotificationBlock(
                name="local",
                url=f"http://127.0.0.1:{hook.server_address[1]}/",
                json_data={"subject": "{{subject}}", "body": "{{body}}"},
            ).save("local")
            put_automations(client, notification_block(client, "custom-webhook/local"))
        served.put_file(Path("sensors/other.csv"), "time,neither\n2026-03-01,2\n")
        id = served.start("score-sensors")
        served.wait(lambda: served.state(id) == "FAILED")
        told = received.get(timeout=60)
        hook.shutdown()
    assert told["subject"].startswith("rnnfast: failure (")
    assert "prefect.flow-run.Failed" in told["body"]


def test_what_is_to_be_seen(served: Served, trained: dict[str, Any], tmp_path: Path) -> None:
    address, shown = f"http://127.0.0.1:{served.port}", artifacts(served, trained)
    run = first_run(served)
    tab = "[...document.querySelectorAll('li')].find(e => e.textContent.trim() == 'Artifacts')"
    with browser(tmp_path / "profile") as page:
        page.open(f"{address}/runs/flow-run/{trained['id']}", until=tab)
        page.evaluate(f"{tab}.click()")
        page.wait(f"({TEXT}).includes('reviews-figures')")
        page.wait(f"({TEXT}).includes('reviews-report')")
        page.screenshot(SCREENSHOTS / "run.png")
        table = f"{address}/artifacts/artifact/{shown['reviews-figures']['id']}"
        page.open(table, until="document.querySelectorAll('table tr').length > 5")
        assert "accuracy" in page.evaluate(TEXT)
        page.screenshot(SCREENSHOTS / "figures.png")
        plots = f"{address}/artifacts/artifact/{shown['reviews-report']['id']}"
        drawn = "[...document.images].filter(e => e.naturalWidth > 200).length >= 3"
        page.open(plots, until=drawn)
        page.screenshot(SCREENSHOTS / "plots.png")
        report = page.evaluate(
            "[...document.links].find(e => e.href.endsWith('/report.html')).href"
        )
        page.open(report, until="document.querySelectorAll('svg[role=img]').length >= 3")
        assert run.name in report
        assert page.evaluate("document.querySelectorAll('table').length") >= 2
        page.screenshot(SCREENSHOTS / "report.png")
        scored = artifacts(served, served.wait(lambda: served.runs("score-reviews"))[0])
        page.open(f"{address}/artifacts/artifact/{scored['score-report']['id']}", until=drawn)
        page.screenshot(SCREENSHOTS / "scores.png")
        report = page.evaluate(
            "[...document.links].find(e => e.href.endsWith('/report.html')).href"
        )
        page.open(report, until="document.querySelectorAll('svg[role=img]').length == 3")
        assert "/scores/reviews/" in report
        assert "scores written with reviews, version 1." in page.evaluate(TEXT)
        page.screenshot(SCREENSHOTS / "scores-report.png")
        away = [
            url
            for url in page.asked
            if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:http://127.0.0.1:"))
        ]  # fmt: skip
        assert not away
        assert len(page.asked) > 10
        assert not [each for each in page.errors if not each.endswith(NOT_OURS)]


def test_all_of_it_ends(served: Served) -> None:
    assert len(served.left()) >= 2  # the server and the worker
    assert served.end() == 128 + signal.SIGTERM
    assert served.left() == []
