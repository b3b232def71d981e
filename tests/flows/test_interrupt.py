import os
import signal
import subprocess
import sys
from pathlib import Path

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    # Both at once, since each spends most of its time on starting up.
    processes = {number: start(tmp_path / number.name) for number in CODES}
    for number, process in processes.items():
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("vocabulary"):
                break
        process.send_signal(number)
    for number, process in processes.items():
        # Ends only when the server has ended too, which holds the other end.
        _, rest = process.communicate(timeout=300)
        assert process.returncode == CODES[number]
        assert "Traceback" not in rest
        names = [path.name for path in (tmp_path / number.name).iterdir()]
        assert [name for name in names if "run" in name] == []


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    options = ["--epochs", "1000", "--output", str(folder / "run")]
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "reviews", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that started the tests in the background has them, and so this, ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=os.environ | {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"},
    )
