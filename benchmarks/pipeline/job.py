"""One scoring job in a process of its own, without Prefect: prints what it did and when its first shard was done."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

# Of the process, from its start to this line, as the system counts.
_BEFORE = time.clock_gettime(time.CLOCK_BOOTTIME) - (
    int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / 100
)
_STARTED = perf_counter()

from flows import progress  # noqa: E402
from flows.parameters import Execution, ScoreRequest  # noqa: E402
from flows.steps.score.files import score_files  # noqa: E402


def main(run: Path, source: str, target: Path, execution: Execution) -> None:
    """Scores a file, a folder or a glob."""
    seconds: list[float] = []

    def note(_: progress.StageProgress) -> None:
        seconds.append(_BEFORE + perf_counter() - _STARTED)

    progress.listeners.append(note)
    request = ScoreRequest(model=str(run), input=source, output=str(target), execution=execution)
    summary = score_files(run, request)
    print(json.dumps(asdict(summary) | {"first_shard": seconds[0]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Execution(**json.loads(sys.argv[4])))
