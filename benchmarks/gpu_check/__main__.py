"""Builds, tests, watches and measures rnnfast on a machine with a GPU, within some minutes: `make gpu-check`.

Such a machine may have no package index and be there for minutes only: nothing is downloaded, a stage that fails or
hangs does not keep the next ones from their time, and what is measured is written as soon as it is there. All of it is
left in one folder, with report.md to read first.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu_check.report import report
from benchmarks.gpu_check.stages import Outcome, Stage, run

ROOT = Path(__file__).parent.parent.parent
TOTAL = 420.0
"""Seconds for all stages."""


def stages(folder: Path, wheels: Path | None) -> list[Stage]:
    """All of them, what others need first, then what is most wanted."""
    python = sys.executable
    # Of the GPU at hand alone, which halves the time to compile.
    major, minor = torch.cuda.get_device_capability() if torch.cuda.is_available() else (9, 0)
    site = folder / "site"
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", ""))))
    build = {"TORCH_CUDA_ARCH_LIST": f"{major}.{minor}", "MAX_JOBS": str(os.cpu_count() or 1)}
    bench = [python, "-m", "benchmarks.cuda", "--seconds", "0.1"]
    sanitizer = ["compute-sanitizer", "--kernel-name", "kns=rnnfast", "--error-exitcode", "1"]
    watched = {"PYTHONPATH": path, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}

    def benchmark(precision: str, modes: Sequence[str], seconds: float) -> Stage:
        name = f"bench-{precision}-{modes[0]}"
        options = ["--precisions", precision, "--modes", *modes]
        return Stage(name, [*bench, *options, "--output", str(folder / f"{name}.md")], seconds)

    found = sorted(wheels.glob("*.whl")) if wheels else []
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    sample = ["-m", "benchmarks.gpu_check.sample", "--beside", "cpu", "--output"]
    return [
        *([Stage("wheels", [*install, str(site), *map(str, found)], 10)] if found else []),
        Stage("build", [python, "setup.py", "--quiet", "build_ext", "--inplace"], 120, build),
        Stage(
            "tests", [python, "-m", "pytest", "-q", "tests/test_cuda.py", "-k", "not emulated"], 70
        ),
        benchmark("bf16", ["forward", "training"], 45),
        benchmark("fp32", ["forward", "training"], 45),
        Stage("sample", [python, *sample, str(folder / "sample.json")], 40, {"PYTHONPATH": path}),
        benchmark("bf16", ["packed", "packed-training"], 35),
        *(
            Stage(
                tool,
                [*sanitizer, "--tool", tool, python, "tests/sanitized.py", "--short"],
                25,
                watched,
            )
            for tool in ("memcheck", "racecheck")
        ),
    ]


def main(arguments: Sequence[str]) -> int:
    """Runs all stages and writes the report.

    Returns:
        0, or 1 where a stage did not pass, or 2 where there is no GPU.
    """
    options = _options(arguments)
    if not torch.cuda.is_available() and not options.anyway:
        print("gpu-check needs an NVIDIA GPU, and torch sees none", file=sys.stderr)
        return 2
    folder = options.output.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print(
            f"{outcome.name}: {outcome.result}, {outcome.seconds:.0f} s: {outcome.said}", flush=True
        )
        # After each: whatever ends this process leaves what is known by then.
        (folder / "outcomes.json").write_text(
            json.dumps([each._asdict() for each in outcomes], indent=1) + "\n", encoding="utf-8"
        )
        (folder / "report.md").write_text(report(folder, outcomes), encoding="utf-8")

    run(stages(folder, options.wheels), folder, options.seconds, tell)
    return 0 if all(each.result == "passed" for each in outcomes) else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build/gpu-check", help="the folder")
    parser.add_argument("--seconds", type=float, default=TOTAL, help="for all stages together")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels that this machine lacks")
    parser.add_argument("--anyway", action="store_true", help="go on without a GPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
