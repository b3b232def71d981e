"""What was said on the command line, as the settings that the flows take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flows.parameters import Registration
    from rnnfast.checks import Limits


def given(kind: type["BaseModel"], said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `kind` among what was said, the options of a command; an option has the name of its field."""
    fields = kind.model_fields
    return {name: value for name, value in said.items() if name in fields and value is not None}


def chosen(presets: Mapping[str, Mapping[Any, Any]], preset: str, cell: str) -> dict[str, Any]:
    """What a preset says of a cell.

    Raises:
        InputError: there is no such preset, or it has no such cell.
    """
    if preset not in presets:
        raise InputError(f"--preset must be {' or '.join(presets)}, got {preset!r}")
    if cell not in presets[preset]:
        raise InputError(
            f"--cell must be {' or '.join(presets[preset])} for --preset {preset}, got {cell!r}"
        )
    return presets[preset][cell]


def parted(settings: list[str], kind: type["BaseModel"]) -> tuple[dict[str, str], list[str]]:
    """The settings NAME=VALUE that are fields of `kind`, and the others."""
    own = dict(s.split("=", 1) for s in settings if s.partition("=")[0] in kind.model_fields)
    return own, [s for s in settings if s.partition("=")[0] not in kind.model_fields]


def configured(
    model_kind: type["BaseModel"],
    model: dict[str, Any],
    training_kind: type["BaseModel"],
    training: dict[str, Any],
    settings: list[str],
) -> tuple[Any, Any]:
    """The model and its training, with what was given by --set.

    Raises:
        InputError: a setting is a field of neither, or no NAME=VALUE.
        ValidationError: a value breaks the rule of its field.
    """
    of_model, rest = parted(settings, model_kind)
    of_training, unknown = parted(rest, training_kind)
    if unknown or any("=" not in setting for setting in settings):
        known = [*model_kind.model_fields, *training_kind.model_fields]
        wrong = [*unknown, *(setting for setting in settings if "=" not in setting)]
        raise InputError(
            f"--set must be NAME=VALUE with a NAME of {', '.join(known)}; got {wrong[0]!r}"
        )
    return model_kind(**model | of_model), training_kind(**training | of_training)


def limits_of(settings: list[str] | None) -> "Limits":
    """The rules for the data, those that were given in place of the usual ones.

    Raises:
        InputError: what was given is no RULE=WARNING,LIMIT, or one rule was given twice.
    """
    from rnnfast.checks import Limits

    settings = settings or []
    own, unknown = parted(settings, Limits)
    if unknown or len(own) < len(settings):
        known = ", ".join(Limits.model_fields)
        wrong = unknown[0] if unknown else settings[-1]
        raise InputError(
            f"--limit must be RULE=WARNING,LIMIT, once for a RULE of {known}; got {wrong!r}"
        )
    return Limits(**own)


def registration_of(
    name: str | None, registry: str | None, margin: str | None
) -> "Registration | None":
    """How the model is registered, if it is.

    Raises:
        InputError: there is no name for what was given.
    """
    from flows.parameters import Registration

    more = given(Registration, {"registry": registry, "margin": margin})
    if name is not None:
        return Registration(name=name, **more)
    if more:
        option, value = next(iter(more.items()))
        raise InputError(f"--{option} must go with --register NAME, got: {value} alone")
    return None
