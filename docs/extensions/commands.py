"""The directive `commands`: every command of the command line with its options, as `docs/reference.py` has it."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from docs.reference import reference


class CommandsDirective(SphinxDirective):
    """Puts the reference in the place of the directive."""

    def run(self) -> list[Any]:
        """The reference, parsed as the page is."""
        return self.parse_text_to_nodes(reference(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("commands", CommandsDirective)
    return {"parallel_read_safe": True}
