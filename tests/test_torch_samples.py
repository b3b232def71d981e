"""Torch's own samples of its recurrent modules, in a process of their own.

To import them freezes torch's flags and sets others, which the tests of a whole process would then run under.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).with_name("torch_samples.py")


def test_torchs_samples() -> None:
    pytest.importorskip("expecttest", reason="torch's samples need it")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SAMPLES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
