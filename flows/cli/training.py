"""What `reviews` and `sensors` share: most of what their flows take, what would be done, and what has come of it."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flows.cli.settings import given, limits_of, registration_of
from flows.cli.terminal import pairs
from flows.wording import counted

if TYPE_CHECKING:
    from flows.cli.options import TrainingOptions
    from flows.parameters import JobData, TrainingRequest
    from flows.steps.prepare.settings import ReviewsSettings, SensorsSettings


DRY = "Read 0 rows: a dry run looks at no row; used 0, rejected 0, left out 0"


def in_common(options: "TrainingOptions") -> dict[str, Any]:
    """The fields that both requests have, by name.

    Raises:
        InputError: at the folder of the run is something that must not be overwritten, or options do not go together.
        ValidationError: a value breaks the rule of its field.
    """
    from flows.parameters import Execution, Processes, TrainingRequest
    from flows.steps.report.publish import check_output

    output = options.output or _new_folder(options.dataset, options.cell)
    check_output(output, options.overwrite)
    return given(TrainingRequest, options) | {
        "output": output,
        "execution": Execution(**given(Execution, options)),
        "processes": Processes(**given(Processes, options)),
        "registration": registration_of(options.register, options.registry, options.margin),
        "limits": limits_of(options.limit),
    }


def _new_folder(dataset: str, cell: str) -> Path:
    """Named after the data set, or its file without what a glob adds, the cell and the time."""
    stem = "".join(c for c in Path(dataset).name.split(".")[0] if c.isalnum() or c in "-_")
    return Path("runs", f"{stem or 'files'}-{cell}-{datetime.now():%Y%m%d-%H%M%S}")


def show_plan(
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

    for line in account_of_training(metrics["data"]).lines():
        typer.echo(line)


def _figures(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of what people look at first."""
    test, data = metrics["test"], metrics["data"]
    main = "accuracy" if "accuracy" in test else "mse"
    form = ".2%" if main == "accuracy" else ".4f"
    rows = counted(test["rows"], "window" if "windows" in metrics else "row")
    yield f"test {main}", f"{test[main]:{form}} of {rows}"
    if metrics.get("test_without_duplicates") and data["duplicates_in_train_and_test"]:
        yield (
            "without duplicates",
            f"{metrics['test_without_duplicates']['accuracy']:.2%}, "
            f"{counted(data['duplicates_in_train_and_test'], 'text')} left out",
        )
    if choice := metrics.get("choice"):
        yield "model", choice["said"]
    for name, measured in metrics.get("baseline", {}).items():
        loses = main == "accuracy" and measured[main] > test[main]
        yield f"{name} beside it", f"{measured[main]:{form}}{', better than the model' * loses}"
    others = {"auc": "AUC", "f1": "F1", "macro_f1": "macro F1", "mae": "MAE", "rmse": "RMSE",
              "r2": "R2", "skill": "skill against persistence", "coverage": "inside the interval"}  # fmt: skip
    for key, name in others.items():
        if test.get(key) is not None:
            yield name, f"{test[key]:.4f}"
