"""Options that several commands have.

Numbers come as they were typed: the settings know their rules and name the value.
"""

from pathlib import Path
from typing import Annotated

import typer

Mirror = Annotated[
    str | None, typer.Option(help="Folder or address to download from.", envvar="RNNFAST_MIRROR")
]
Preset = Annotated[str, typer.Option(help="default or lecture.")]
Output = Annotated[
    Path | None, typer.Option(help="Folder of the run; by default a new one below runs/.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace the run at --output.")]
Epochs = Annotated[str | None, typer.Option(metavar="N", help="Passes over the training rows.")]
BatchSize = Annotated[str | None, typer.Option(metavar="N", help="Rows in a training step.")]
LearningRate = Annotated[str | None, typer.Option(metavar="X", help="Of the optimizer.")]
Seed = Annotated[str | None, typer.Option(metavar="N", help="Of weights, order and dropout.")]
Nodes = Annotated[
    str | None, typer.Option(metavar="N", help="Machines on which the same command is started.")
]
Rendezvous = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Of one of the machines, where they meet.")
]
Register = Annotated[
    str | None, typer.Option(metavar="NAME", help="Registers the model, and promotes a better one.")
]
Registry = Annotated[str | None, typer.Option(help="Folder of the registry, by default models.")]
RegistryFolder = Annotated[Path, typer.Option("--registry", help="Folder of the registry.")]
Margin = Annotated[
    str | None, typer.Option(metavar="X", help="Least gain over the version in production.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other field of model or training, as NAME=VALUE."),
]
Engine = Annotated[str, typer.Option(help="local: processes of this machine; ray: a cluster.")]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Processes that share the work and the cores: shards of files, by default one for every 4 cores; "
        "training, by default one.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Of a Ray cluster that runs; by default one of its own."
    ),
]
ShardRows = Annotated[
    str | None, typer.Option(metavar="N", help="Rows of a file that are done together.")
]
MemoryLimit = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Of all processes together, such as 4GB.")
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", help="A rule for the data, as RULE=WARNING,LIMIT or RULE=off."),
]
Gate = Annotated[bool, typer.Option(help="Fail where the data is past the limit of a rule.")]
DryRun = Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")]
Notify = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE/NAME",
        help="Block of the server that is told of failure, drift and promotion.",
        envvar="RNNFAST_NOTIFY",
    ),
]
