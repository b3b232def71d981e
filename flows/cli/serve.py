"""rnnfast serve."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import options

SCHEDULES = Path(__file__).parents[1] / "prefect.yaml"


def serve(
    folder: Annotated[
        Path, typer.Option(help="Where inbox, runs, models and scores are; it must exist.")
    ] = Path("."),
    schedules: Annotated[
        Path, typer.Option(help="What runs when: flows/prefect.yaml or a copy of it.")
    ] = SCHEDULES,
    port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65534,
            help="Of Prefect; the runs and reports are shown at the next one.",
            envvar="RNNFAST_PORT",
        ),
    ] = 4200,
    runs: Annotated[int, typer.Option(min=1, metavar="N", help="Runs at a time.")] = 2,
    notify: options.Notify = None,
) -> None:
    """Run the flows by their schedules, with Prefect's server, its UI and a worker, until Ctrl-C."""
    from flows.orchestration.serving import serve
    from flows.orchestration.surroundings import require_machine

    require_machine()
    serve(folder, schedules, port, runs, notify)
