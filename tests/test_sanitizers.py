"""The short form of `make sanitize` and `make fuzz`: texts, and what fuzzing began with or found before."""

import re
import subprocess

import pytest
import sanitizers
from test_compilers import CLANG, TEXT

pytestmark = pytest.mark.skipif(not CLANG, reason="needs clang (Debian package: clang)")


@pytest.mark.parametrize("sanitizer", ["memory", "threads"])
def test_the_text_kernel_is_clean(sanitizer: str) -> None:
    done = subprocess.run([sanitizers.build(sanitizer, TEXT)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_the_corpus_of_texts_rows_and_runs() -> None:
    inputs = sorted(sanitizers.CORPUS.iterdir())
    done = sanitizers.fuzz(*inputs)
    assert done.returncode == 0, done.stderr
    figures = re.search(r"(\d+) inputs: .* (\d+) files of runs, (\d+) refused", done.stdout)
    assert figures, done.stdout
    # Of the runs the whole one is read; one that is cut off, and one that counts too far, are refused.
    assert [int(figure) for figure in figures.groups()] == [len(inputs), 3, 2]
