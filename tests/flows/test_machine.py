"""`rnnfast doctor`: what a machine has, what it lacks, and what would make it faster."""

import importlib.metadata
import json

import pytest
import torch
from typer.testing import CliRunner

import rnnfast
from flows.__main__ import app
from flows.steps.inspect import machine

RUN = CliRunner()


def test_what_this_machine_has() -> None:
    done = RUN.invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    for part in (rnnfast.cpu_target(), torch.__version__, "bfloat16", "Ray", "Prefect"):
        assert part in done.output
    found = json.loads(RUN.invoke(app, ["doctor", "--json"]).stdout)
    assert found["missing"] == []
    assert "processor" in found["found"]


def test_a_package_that_is_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["torch>=99", "nowhere-to-be-found; extra == 'flows'", "absent; extra == 'lint'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    done = RUN.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert f"torch must be >=99, found {torch.__version__}" in done.output
    assert "nowhere-to-be-found is not installed" in done.output
    assert "absent" not in done.output


def test_what_costs_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [each for each in machine._slow(10_000) if "RNNFAST_CPU_TARGET" in each]
    monkeypatch.setattr(machine.ops, "cpu_target", lambda: "generic")
    monkeypatch.setattr(machine, "_cgroup", {"cpu.max": "150000 100000"}.get)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    forced, quota, threads = machine._slow(4)
    assert f"can run {rnnfast.cpu_targets()[0]}: unset it" in forced
    assert "1.5 of 4 cores: set OMP_NUM_THREADS=1" in quota
    assert "64 threads on 4 cores: set OMP_NUM_THREADS=4" in threads
