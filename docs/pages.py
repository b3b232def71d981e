"""Runs the Python of a page: its blocks in order, with one set of names.

What a block prints stands in the block after it.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n\n(?P<mark><!-- about -->\n)?```text\n(?P<text>.*?)^```$)?",
    re.M | re.S,
)


def run(page: Path, folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Of each block that the page gives the output of: that output, what was printed, whether it is exact.

    Runs in ``folder``, with a folder ``images`` in it for the pictures. Output that the page marks `<!-- about -->` may
    differ from machine to machine.
    """
    (folder / "images").mkdir(exist_ok=True)
    names: dict[str, Any] = {"__name__": page.stem}
    here = Path.cwd()
    os.chdir(folder)
    try:
        for block in BLOCK.finditer(page.read_text()):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block["code"], page.name, "exec"), names)
            if block["text"] is not None or printed.getvalue():
                yield block["text"] or "", printed.getvalue(), not block["mark"]
    finally:
        os.chdir(here)
