"""The check for a machine with a GPU, as far as it needs none: order, time, what fails, and its tables."""

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import cuda
from benchmarks.gpu_check import __main__ as check
from benchmarks.gpu_check.report import report
from benchmarks.gpu_check.stages import Outcome, Stage, run


def python(name: str, code: str, seconds: float = 5.0, **environment: str) -> Stage:
    return Stage(name, [sys.executable, "-c", code], seconds, environment)


def test_a_stage_that_fails_or_hangs_costs_the_others_nothing(tmp_path: Path) -> None:
    hangs = "import subprocess, time; print('begun', flush=True); subprocess.run(['sleep', '60'])"
    told: list[Outcome] = []
    outcomes = run(
        [
            python("fails", "print('why'); raise SystemExit(3)"),
            python("hangs", hangs, 1.0),
            Stage("missing", ["nothing-of-that-name"], 1.0),
            python("works", "import os; print(os.environ['WORD'] + '\\n\\n')", WORD="found"),
        ],
        tmp_path,
        12.5,
        told.append,
    )
    assert told == outcomes
    assert [each.result for each in outcomes] == ["failed", "timed out", "failed", "passed"]
    assert [outcomes[n].said for n in (0, 1, 3)] == ["why", "begun", "found"]
    assert "No such file" in outcomes[2].said
    assert (tmp_path / "fails.log").read_text() == "why\n"
    # What the first one has left is the second one's too.
    assert 1.0 < outcomes[1].allowed < 6.5
    assert outcomes[1].seconds < 8


def test_when_the_time_is_over_no_stage_begins(tmp_path: Path) -> None:
    started = time.monotonic()
    outcomes = run([python("a", "", 1), python("b", "", 1)], tmp_path, 0.0)
    assert [each.result for each in outcomes] == ["not run", "not run"]
    assert time.monotonic() - started < 1


def test_all_stages_have_room_in_the_whole_time_what_others_need_first(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "made-up.whl").touch()
    stages = check.stages(tmp_path, wheels)
    assert sum(stage.seconds for stage in stages) <= check.TOTAL <= 420
    names = [stage.name for stage in stages]
    assert names[:3] == ["wheels", "build", "tests"]
    assert "wheels" not in [stage.name for stage in check.stages(tmp_path, None)]
    assert {"sample", "memcheck", "bench-bf16-forward", "bench-fp32-forward"} < set(names)
    for stage in stages:
        if stage.name.startswith("bench"):
            options = cuda._options(stage.command[3:])
            assert options.output == tmp_path / f"{stage.name}.md"


def test_the_report_has_what_is_there(tmp_path: Path) -> None:
    outcomes = [
        Outcome("build", "passed", 61.4, 120.0, "done"),
        Outcome("tests", "failed", 3.0, 90.0, "1 failed | 2 passed"),
    ]
    assert "## The sample" not in report(tmp_path, outcomes)
    row = {"device": "cuda", "cell": "gru", "precision": "bf16", "accuracy": 0.875}
    row |= {"train_tokens_per_second": 1234567.8, "score_reviews_per_second": 9876.0}
    (tmp_path / "sample.json").write_text(json.dumps([row | {"files_reviews_per_second": 5.0}]))
    (tmp_path / "bench-bf16-forward.md").write_text("made up\n")
    assert report(tmp_path, outcomes) == (
        "# A check on a GPU\n\n"
        "| stage | result | seconds | of | its last line |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| build | passed | 61 | 120 | done |\n"
        "| tests | failed | 3 | 90 | 1 failed / 2 passed |\n\n"
        "## The sample, trained and scored\n\n"
        "| device | cell | precision | training, tokens/s | texts in memory, reviews/s | files, reviews/s "
        "| accuracy |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| cuda | gru | bf16 | 1,234,568 | 9,876 | 5 | 87.50% |\n\n"
        "## bench-bf16-forward\n\nmade up\n\n"
    )
    (tmp_path / "sample.json").write_text('[{"device"')  # cut off
    assert "## The sample" not in report(tmp_path, outcomes)


def test_the_sample_is_trained_and_scored_by_the_flows_steps_without_prefect() -> None:
    """What its functions do is the steps' own; what they import is what decides whether they run there."""
    code = "import sys; sys.modules['prefect'] = None; import benchmarks.gpu_check.sample"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
