"""The command line: python -m flows reviews | sensors | score | compare | models | clean | serve | automations.

Ends with code 0 only where the job was done, with 2 and one clear message where something that was
given cannot be used, and with 128 + its number where a signal ended it: 130 after Ctrl-C.
"""

import os

import typer

from flows.commands import models
from flows.commands.automations import automations
from flows.commands.clean import clean
from flows.commands.compare import compare
from flows.commands.reviews import reviews
from flows.commands.score import score
from flows.commands.sensors import sensors
from flows.commands.serve import serve
from flows.commands.terminal import Commands
from flows.interrupt import ended_by_signals
from flows.progress import log_to_terminal

# Prefect's own log goes to its server; the terminal shows what the steps report.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")

app = typer.Typer(
    cls=Commands,
    help="Batch jobs over reviews and sensor readings.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, automations, reviews, sensors, score, clean, compare):
    app.command()(command)
app.add_typer(models.app, name="models")


@app.callback()
def main() -> None:
    log_to_terminal()


if __name__ == "__main__":
    with ended_by_signals():
        app()
