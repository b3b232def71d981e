"""The options of a command as the settings that the flows take."""

from typing import TYPE_CHECKING, Any

from flows.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flows.parameters import Registration
    from flows.store.file_options import FileOptions
    from rnnfast.evaluation.checks import Limits


def given(kind: type["BaseModel"], options: object) -> dict[str, Any]:
    """The fields of `kind` among the options that were given; an option has the name of its field."""
    fields = kind.model_fields
    found = vars(options).items()
    return {name: value for name, value in found if name in fields and value is not None}


def reading_of(options: object) -> "FileOptions":
    """How files are read, as far as that was given."""
    from flows.store.file_options import FileOptions

    return FileOptions(**given(FileOptions, options))


def limits_of(settings: list[str] | None) -> "Limits":
    """The rules for the data, those that were given in place of the usual ones.

    Raises:
        InputError: what was given is no RULE=WARNING,LIMIT, or one rule was given twice.
    """
    from rnnfast.evaluation.checks import Limits

    limits: dict[str, Any] = {}
    for setting in settings or []:
        rule, equals, value = setting.partition("=")
        if not equals or rule not in Limits.model_fields or rule in limits:
            known = ", ".join(Limits.model_fields)
            raise InputError(
                f"--limit must be RULE=WARNING,LIMIT, once for a RULE of {known}; got {setting!r}"
            )
        limits[rule] = value
    return Limits(**limits)


def registration_of(
    name: str | None, registry: str | None, margin: str | None
) -> "Registration | None":
    """How the model is registered, if it is.

    Raises:
        InputError: there is no name for what was given.
    """
    from flows.parameters import Registration

    given = {"registry": registry, "margin": margin}
    more: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if name is not None:
        return Registration(name=name, **more)
    if more:
        option, value = next(iter(more.items()))
        raise InputError(f"--{option} must go with --register NAME, got: {value} alone")
    return None
