"""Options that several commands have.

Numbers come as they were typed: the settings know their rules and name the value.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import set_names
from flows.cli.panels import (
    of_data,
    of_files,
    of_model,
    of_registry,
    of_run,
    of_scale,
    of_training,
)
from flows.executors.base import Engine
from rnnfast.models.choices import DeviceChoice, Preset, ScoringPrecision, TrainingPrecision

RegistryFolder = Annotated[Path, typer.Option("--registry", help="Folder of the registry.")]
DryRun = Annotated[bool, of_run(help="Say what would be done, and do nothing.")]
Notify = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE/NAME",
        help="Notification block of the server for failures, drift and promotions.",
        envvar="RNNFAST_NOTIFY",
    ),
]
TimeColumn = Annotated[
    str | None,
    of_data(
        help="Column with the time stamp, or several separated by commas, such as year,month,day; by default found."
    ),
]
TimeFormat = Annotated[
    str | None,
    of_data(
        help="How the time is written: 'day first', 'month first', a pattern such as %d/%m/%Y, or s, ms, us or ns "
        "since 1970; by default found."
    ),
]
MissingMarks = Annotated[
    str | None,
    of_files(
        "--missing",
        metavar="TEXTS",
        help="Texts that mean a missing number, separated by commas, in addition to NA, null, - and the like.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How files are read, where that is not to be found from each file."""

    separator: Annotated[
        str | None,
        of_files(metavar="SIGN", help="Sign between the fields of CSV, or tab; by default found."),
    ] = None
    encoding: Annotated[
        str | None,
        of_files(
            metavar="NAME",
            help="Encoding of text files, such as utf-16 or cp1252; by default found.",
        ),
    ] = None
    quote: Annotated[
        str | None,
        of_files(metavar="SIGN", help="Sign around the fields of CSV, or none; by default found."),
    ] = None
    escape: Annotated[
        str | None,
        of_files(
            metavar="SIGN",
            help="Escape character of quotes within quotes: backslash, or none for doubled quotes; default: detected.",
        ),
    ] = None
    decimal: Annotated[
        str | None,
        of_files(metavar="SIGN", help="Decimal mark of numbers in CSV; by default found."),
    ] = None
    header: Annotated[
        bool,
        of_files(
            help="Whether the first row of CSV names the columns; without it they are c1, c2 and so on."
        ),
    ] = True


@dataclass(frozen=True, kw_only=True)
class ScaleOptions:
    """Where and how the shards of a job are done."""

    engine: Annotated[
        Engine,
        of_scale(
            help="What does the work: processes of this machine (local), or a Ray cluster (ray)."
        ),
    ] = "local"
    workers: Annotated[
        str | None,
        of_scale(
            metavar="N",
            help="Processes that share the work and the cores. By default shards of files have one for every 4 cores, "
            "and training has one.",
        ),
    ] = None
    address: Annotated[
        str | None,
        of_scale(
            metavar="HOST:PORT",
            help="Address of a Ray cluster that runs; by default the job starts one of its own.",
        ),
    ] = None
    device: Annotated[
        DeviceChoice,
        of_scale(
            help="Where models compute: cpu, cuda, or the GPU where there is one (auto).",
        ),
    ] = "auto"
    shard_rows: Annotated[
        str | None,
        of_scale(metavar="N", help="Rows of a file that are done together; by default 65536."),
    ] = None
    memory_limit: Annotated[
        str | None,
        of_scale(
            metavar="SIZE",
            help="Memory of all processes together, such as 4GB; by default without a limit.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RulesOptions:
    """How the rows of a job are checked, and whether it is done at all."""

    limit: Annotated[
        list[str] | None,
        of_run(
            metavar="RULE=WARNING,LIMIT",
            help="A rule for the data, with the values from which it warns and fails, or RULE=off; may be repeated.",
        ),
    ] = None
    gate: Annotated[bool, of_run(help="Fail where the data is past the limit of a rule.")] = True
    dry_run: DryRun = False


@dataclass(frozen=True, kw_only=True)
class StepsOptions(ReadingOptions, ScaleOptions):
    """What all trainings by steps share."""

    mirror: Annotated[
        str | None,
        of_data(
            help="Folder or address to download data sets from; by default where they are published.",
            envvar="RNNFAST_MIRROR",
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        of_model(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting of data, model or training; may be repeated. --list-settings shows them.",
            autocompletion=set_names.complete,
        ),
    ] = None
    list_settings: Annotated[
        bool,
        of_model(
            "--list-settings",
            help="Show what --set takes, with defaults and values, and end.",
            is_eager=True,
            callback=set_names.show,
        ),
    ] = False
    seed: Annotated[
        str | None,
        of_training(metavar="N", help="Seed of weights, order and dropout; by default 0."),
    ] = None
    precision: Annotated[
        TrainingPrecision | None,
        of_training(
            help="What the recurrent layers compute in: fp32, or bf16 with weights in float32; by default fp32.",
            show_default=False,
        ),
    ] = None
    nodes: Annotated[
        str | None,
        of_scale(metavar="N", help="Machines on which the same command is started; by default 1."),
    ] = None
    rendezvous: Annotated[
        str | None,
        of_scale(
            metavar="HOST:PORT", help="Address of one of the machines, where all of them meet."
        ),
    ] = None
    output: Annotated[
        Path | None, of_run(help="Folder of the run; by default a new one below runs/.")
    ] = None
    overwrite: Annotated[bool, of_run(help="Replace the run at --output.")] = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(StepsOptions, RulesOptions):
    """What `reviews` and `sensors` share."""

    dataset: str = "sample"
    cell: str = ""
    yardstick: bool = False
    join_labels: Annotated[
        bool | None,
        of_data(
            "--join-labels",
            help="Take labels that differ only in case or spaces as one.",
            show_default=False,
        ),
    ] = None
    preset: Annotated[
        Preset,
        of_model(
            help="Where the settings of model and training come from: what measured best (default), or the model "
            "that people are taught (lecture)."
        ),
    ] = "default"
    epochs: Annotated[
        str | None,
        of_training(metavar="N", help="Passes over the training rows; by default as the preset."),
    ] = None
    batch_size: Annotated[
        str | None,
        of_training(metavar="N", help="Rows in a training step; by default as the preset."),
    ] = None
    learning_rate: Annotated[
        str | None,
        of_training(metavar="X", help="Learning rate of the optimizer; by default as the preset."),
    ] = None
    seeds: Annotated[
        str | None,
        of_training(
            metavar="N",
            help="Train the model so many times, each with the next seed, and show mean and spread; by default 1.",
        ),
    ] = None
    ensemble: Annotated[
        bool,
        of_training(
            "--ensemble", help="Keep the mean of the models of all --seeds, instead of the first."
        ),
    ] = False
    score_precision: Annotated[
        ScoringPrecision,
        of_training(
            help="What the trained model scores in, from now on: fp32, bf16, int8, or the fastest whose loss on the "
            "validation part is within --score-loss (auto).",
        ),
    ] = "fp32"
    score_loss: Annotated[
        str | None,
        of_training(
            metavar="X",
            help="Accuracy or F1 that auto may cost, as a share, or by which share the MSE may rise; by default 0.001.",
        ),
    ] = None
    register: Annotated[
        str | None,
        of_registry(
            metavar="NAME",
            help="Name under which the model is registered; it comes into production if it is better.",
        ),
    ] = None
    registry: Annotated[
        str | None, of_registry(help="Folder of the registry; by default models.")
    ] = None
    margin: Annotated[
        str | None,
        of_registry(
            metavar="X",
            help="Least gain over the version in production, as a share; by default 0.005.",
        ),
    ] = None
