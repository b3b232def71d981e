"""Options as dataclasses: a command takes one object, and its help shows the options in panels."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import partial, wraps
from inspect import Parameter, Signature
from typing import Any, TypeVar, get_type_hints

import typer

Options = TypeVar("Options")

PANELS = ("Data", "How files are read", "Model", "Training", "Scale", "Registry", "Run")
of_data, of_files, of_model, of_training, of_scale, of_registry, of_run = (
    partial(typer.Option, rich_help_panel=panel) for panel in PANELS
)


def takes(kind: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Makes a command of a function of one argument, a dataclass whose fields are the options.

    typer reads options from a signature: this is that of `kind`, panel after panel.
    """
    hints = get_type_hints(kind, include_extras=True)

    def parameter(field: Field[Any]) -> Parameter:
        default = Parameter.empty if field.default is MISSING else field.default
        by_name = Parameter.KEYWORD_ONLY
        return Parameter(field.name, by_name, default=default, annotation=hints[field.name])

    def place(parameter: Parameter) -> int:
        panel = parameter.annotation.__metadata__[0].rich_help_panel
        return PANELS.index(panel) if panel else 0

    parameters = sorted(map(parameter, fields(kind)), key=place)  # type: ignore[arg-type]

    def command_of(run: Callable[[Options], None]) -> Callable[..., None]:
        @wraps(run)
        def command(**options: Any) -> None:
            run(kind(**options))

        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return command_of
