"""How Sphinx builds these pages: `make docs`."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "rnnfast"
author = "the authors of rnnfast"
copyright = "the authors of rnnfast"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "commands", "mathml"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "rnnfast"
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_ivar = True


def _files_of_the_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """A link to a Markdown file outside of these pages becomes one to a copy of it."""
    source[0] = re.sub(r"\[([^]]+)\]\((\.\./[\w./]+\.md)\)", r"{download}`\1 <\2>`", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _files_of_the_repository)
