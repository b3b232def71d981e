"""What `reviews` and `sensors` do: ask for a training, say what it would do or run it, and show what has come of it."""

import json
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from flows.cli.set_names import assigned
from flows.cli.settings import given, limits_of, reading_of, registration_of
from flows.cli.terminal import pairs, show_account
from flows.wording import counted

if TYPE_CHECKING:
    from flows.cli.options import TrainingOptions
    from flows.parameters import JobData, ReviewsRequest, SensorsRequest, TrainingRequest
    from flows.steps.prepare.settings import ReviewsSettings, SensorsSettings

DRY = "Read 0 rows: a dry run looks at no row; used 0, rejected 0, left out 0"


def run_training(options: "TrainingOptions", command: Literal["reviews", "sensors"]) -> None:
    """Looks at what a training is given, then does it, or says what it would do.

    Raises:
        InputError: something that was given cannot be used.
        ValidationError: a value breaks the rule of its field.
    """
    from flows.orchestration.own_server import own_server

    server = None if options.dry_run else own_server()
    from flows.cli.look import look_at_training
    from flows.orchestration.surroundings import surroundings
    from flows.parameters import ReviewsRequest, SensorsRequest
    from flows.steps.prepare.settings import settled

    kind = ReviewsRequest if command == "reviews" else SensorsRequest
    request = _request(options, command, kind)
    data, settings = settled(request)
    look_at_training(request, data, settings)
    if options.dry_run:
        _show_plan(request, data, settings)
        return
    with surroundings(server):
        module = import_module(f"flows.{command}")

    show_run(getattr(module, command)(request))


def _request(
    options: "TrainingOptions", command: str, kind: "type[ReviewsRequest] | type[SensorsRequest]"
) -> "ReviewsRequest | SensorsRequest":
    """What was asked for, each field checked by itself so that a refusal names its option."""
    from flows.parameters import Execution, Processes, TrainingRequest
    from flows.steps.report.publish import check_output

    output = options.output or new_folder(options.dataset, options.cell)
    check_output(output, options.overwrite)
    fields = given(TrainingRequest, options) | {
        "output": output,
        "execution": Execution(**given(Execution, options)),
        "processes": Processes(**given(Processes, options)),
        "registration": registration_of(options.register, options.registry, options.margin),
        "limits": limits_of(options.limit),
    }
    of_data, of_model, of_training = assigned(options.settings, command)
    parts: dict[str, dict[str, Any]] = {
        "data": {"reading": reading_of(options)} | of_data,
        "model": of_model,
        "training": of_training,
    }
    for name, values in parts.items():
        part: Any = kind.model_fields[name].annotation
        fields[name] = part(**given(part, options) | values)
    return kind(**fields)


def new_folder(dataset: str, cell: str) -> Path:
    """Named after the data set, or its file without what a glob adds, the kind of model and the time."""
    stem = "".join(c for c in Path(dataset).name.split(".")[0] if c.isalnum() or c in "-_")
    return Path("runs", f"{stem or 'files'}-{cell}-{datetime.now():%Y%m%d-%H%M%S}")


def _show_plan(
    request: "TrainingRequest",
    data: "JobData",
    settings: "ReviewsSettings | SensorsSettings",
) -> None:
    """Prints the settings as far as they follow without a look at the rows, and what the job would do with them."""
    groups = (("data", data), ("model", settings.model), ("training", settings.training))
    values = [
        (f"{group} {name}", str(value))
        for group, fields in groups
        for name, value in fields.model_dump(mode="json", exclude={"reading"}).items()
        if value not in (None, [], "")
    ]
    pairs(*values)
    typer.echo(f"Would leave the run at {request.output}")
    if (registration := request.registration) is not None:
        from flows.store.registry import Model

        known = Model(registration.registry / registration.name)
        production = known.standing().production
        rival = f"version {production}" if production else "what needs no model"
        typer.echo(
            f"Would register it as {known.name} in {registration.registry}, and put it into "
            f"production if it is better than {rival} by {registration.margin:g}"
        )
    typer.echo(DRY)


def show_run(run_dir: Path) -> None:
    """Prints the figures of a finished run, and where its report is."""
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    seconds = metrics["seconds"]
    pairs(
        *_figures(metrics),
        ("training", f"{seconds['train']:.1f} s"),
        ("whole job", f"{seconds['total']:.1f} s"),
    )
    typer.echo(f"Report: {run_dir / 'report.html'}")
    from flows.accounts import account_of_training

    show_account(account_of_training(metrics["data"]))


def _figures(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of what people look at first."""
    from rnnfast.labels.metrics import key_figure

    test, data = metrics["test"], metrics["data"]
    main, more = key_figure(test)
    form = ".4f" if more < 0 else ".2%"
    rows = counted(test["rows"], "window" if "train_windows" in data else "row")
    yield f"test {_FIGURES.get(main, main)}", f"{test[main]:{form}} of {rows}"
    if over := metrics.get("seeds"):
        figure = over["figures"][main]
        share = "" if more < 0 else " points"
        spread = (
            f"{figure['spread'] * (1 if more < 0 else 100):{'.4f' if more < 0 else '.2f'}}{share}"
        )
        each = ", each by itself" if over["ensemble"] else ""
        yield (
            f"over {len(over['seeds'])} seeds{each}",
            f"{figure['mean']:{form}}, standard deviation {spread}",
        )
    if metrics.get("test_without_duplicates") and data["duplicates_in_train_and_test"]:
        yield (
            "without duplicates",
            f"{metrics['test_without_duplicates'][main]:{form}}, "
            f"{counted(data['duplicates_in_train_and_test'], 'text')} left out",
        )
    if choice := metrics.get("choice"):
        yield "model", choice["summary"]
    for name, measured in metrics.get("baseline", {}).items():
        loses = more * measured[main] > more * test[main] and main != "mse"
        yield f"baseline {name}", f"{measured[main]:{form}}{', better than the model' * loses}"
    if beaten := metrics.get("beaten"):
        yield "beaten", beaten["summary"]
    against = "persistence" if "by_horizon" in test else "the mean"
    others = {**_FIGURES, "skill": f"skill against {against}"}
    for key, name in others.items():
        if key != main and test.get(key) is not None:
            yield name, f"{test[key]:.4f}"


_FIGURES = {"auc": "AUC", "f1": "F1", "micro_f1": "micro F1", "macro_f1": "macro F1",
            "top_2": "top 2", "top_3": "top 3", "top_5": "top 5", "subset_accuracy": "all labels right",
            "mae": "MAE", "rmse": "RMSE", "r2": "R2", "rank_correlation": "rank correlation",
            "coverage": "coverage of the interval"}  # fmt: skip
"""How figures are called, in their order."""
