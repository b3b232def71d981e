"""The command line, `rnnfast COMMAND`; `python -m flows` is the same.

Ends with code 0 only where the job was done, with 2 and one clear message where something that was
given cannot be used, and with 128 + its number where a signal ended it: 130 after Ctrl-C.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from flows.cli import models
from flows.cli.automations import automations
from flows.cli.clean import clean
from flows.cli.compare import compare
from flows.cli.doctor import doctor
from flows.cli.inspect import inspect
from flows.cli.pretrain import pretrain
from flows.cli.reviews import reviews
from flows.cli.score import score
from flows.cli.sensors import sensors
from flows.cli.serve import serve
from flows.cli.terminal import Commands
from flows.orchestration.ending import surely_ended
from flows.orchestration.interrupt import ended_by_signals
from flows.progress import log_to_terminal

# Prefect's own log goes to its server; the terminal shows what the steps report.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")

app = typer.Typer(
    cls=Commands,
    help="Batch jobs over reviews and sensor readings.",
    pretty_exceptions_enable=False,
)
for command in (
    inspect,
    reviews,
    sensors,
    pretrain,
    score,
    compare,
    clean,
    serve,
    automations,
    doctor,
):
    app.command()(command)
app.add_typer(models.app, name="models")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rnnfast {version('rnnfast')}")
        raise typer.Exit


@app.callback()
def before_each(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    log_to_terminal()


def _in_utf8() -> None:
    """Starts this process anew where the locale has it read paths and write texts as anything but UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # of the processes that the job starts
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def main() -> None:
    """Runs the command line."""
    _in_utf8()
    with ended_by_signals(), surely_ended():
        app(prog_name="rnnfast")


if __name__ == "__main__":
    main()
