"""Makes the pictures of README.md and the tutorial from real runs: `make pictures`, after `make demo`.

The UI is that of a server that trains on a small file and scores what comes in, in a temporary folder.
"""

import base64
import sys
import tempfile
import time
from pathlib import Path

from docs import chart, pages
from tests.flows.browser import TEXT, Browser, browser
from tests.flows.served import NEVER, served_in

IMAGES = chart.ROOT / "docs/images"
TUTORIAL = chart.ROOT / "docs/tutorial"
REPORT = chart.ROOT / "runs/demo/report.html"


def photograph(page: Browser, path: Path, width: int, height: int) -> None:
    """Writes the upper part of a page as WebP."""
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1.25,
        mobile=False,
    )
    time.sleep(3)  # what moves or fades in comes to rest
    taken = page.call("Page.captureScreenshot", format="webp", quality=80)
    path.write_bytes(base64.b64decode(taken["data"]))


def main() -> None:
    """Makes all of them."""
    if not REPORT.exists():
        sys.exit(f"{REPORT} does not exist: run make demo first")
    IMAGES.mkdir(exist_ok=True)
    chart.draw(IMAGES / "speed.png")
    for page in sorted(TUTORIAL.glob("*.md")):
        list(pages.run(page, TUTORIAL))
    with tempfile.TemporaryDirectory() as name:
        with browser(Path(name) / "profile") as page:
            page.open(REPORT.as_uri(), until="document.querySelector('h1')")
            photograph(page, IMAGES / "report.webp", 1100, 1000)
        with served_in(Path(name) / "served", NEVER, NEVER) as served:
            served.run("train-reviews")
            for number in range(3):
                served.put(f"{number}.csv", 40)
                served.run("score-reviews")
            with browser(Path(name) / "second") as page:
                address = f"http://127.0.0.1:{served.port}/runs"
                page.open(address, until=f"({TEXT}).includes('train-reviews')")
                photograph(page, IMAGES / "ui.webp", 1280, 800)


if __name__ == "__main__":
    main()
