"""C++ that runs without Python, under clang's sanitizers: `make sanitize` and `make fuzz` run this file.

`sanitizers.py` holds texts, then every target of this machine, against plain loops. `sanitizers.py fuzz MINUTES` feeds
texts, rows and runs that libFuzzer makes up to the kernel of texts, beginning with `tests/corpus/text`.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compiled import FOLDER, made, read_by
from test_compilers import CLANG, INT8, KERNELS, TEXT

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests/corpus/text"
FUZZ = [*TEXT[:-1], ROOT / "tests/csrc/fuzz_text.cpp"]

# Each check of an address is a call, which makes the kernels compile several times as fast.
CALLS = ("-mllvm", "-asan-instrumentation-with-call-threshold=0")
SANITIZERS = {
    "memory": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", *CALLS),
    "threads": ("-fsanitize=thread",),
    "fuzzer": ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"),
}


def build(sanitizer: str, sources: list[Path]) -> Path:
    """A program of the sources under one of `SANITIZERS`, in `build/tests`.

    Raises:
        RuntimeError: with what the compiler said.
    """
    assert CLANG
    flags = (
        *("-std=c++20", "-O1", "-g1", "-pthread", "-Wno-psabi", f"-I{ROOT / 'csrc'}"),
        *SANITIZERS[sanitizer],
    )

    def compile_one(source: Path) -> Path:
        command = (str(CLANG), *flags, "-c", source)
        return made(f"{sanitizer}-{source.stem}", ".o", command, read_by(source))[0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    return made(f"{sanitizer}-{sources[-1].stem}", "", (str(CLANG), *flags, *objects), objects)[0]


def fuzz(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs libFuzzer with these arguments; what it finds is left in `build/tests/found`."""
    found = FOLDER / "found"
    found.mkdir(parents=True, exist_ok=True)
    program = build("fuzzer", FUZZ)
    command = (program, f"-artifact_prefix={found}/", "-max_len=400", *arguments)
    return subprocess.run(command, capture_output=True, text=True)


def main() -> None:
    if not CLANG:
        sys.exit("make sanitize and make fuzz need clang 14 or later (Debian package: clang)")
    if sys.argv[1:2] == ["fuzz"]:
        grown = FOLDER / "corpus"
        grown.mkdir(parents=True, exist_ok=True)
        seconds = round(60 * float(sys.argv[2]))
        done = fuzz(f"-max_total_time={seconds}", grown, CORPUS)
        print(done.stdout, *(done.stderr.splitlines()[-12:] if done.returncode else ()), sep="\n")
        sys.exit(done.returncode)
    for sanitizer in ("memory", "threads"):
        for sources in (TEXT, KERNELS, INT8):
            print(f"{sanitizer}, {sources[-1].name}", flush=True)
            subprocess.run([build(sanitizer, sources)], check=True)


if __name__ == "__main__":
    main()
