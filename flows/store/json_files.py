"""JSON in local files."""

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Writes JSON for people to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What is in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
