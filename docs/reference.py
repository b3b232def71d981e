"""The reference of the command line, read from the commands themselves."""

from typing import Any

from typer.main import get_command

from flows.__main__ import app
from flows.cli.set_names import set_names

WITH_SETTINGS = ("reviews", "sensors", "pretrain")


def reference() -> str:
    """All commands as Markdown."""
    return "\n".join(_of("rnnfast", get_command(app)))


def _of(name: str, command: Any) -> list[str]:
    children = getattr(command, "commands", None)
    lines = [] if name == "rnnfast" else [f"## {name}", "", _plain(command.help), ""]
    shown = [each for each in command.params if each.name != "help" and not _hidden(each)]
    if shown:
        lines += ["| argument | meaning | default |", "| --- | --- | --- |"]
        lines += [_row(each) for each in shown] + [""]
    if name.split()[-1] in WITH_SETTINGS:
        lines += _settings(name)
    for child, of in (children or {}).items():
        lines += _of(f"{name} {child}", of)
    return lines


def _hidden(parameter: Any) -> bool:
    return bool(getattr(parameter, "hidden", False))


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.name.upper()]
    default = parameter.default
    if parameter.required:
        default = "required"
    elif default is None or default in ((), []) or callable(default):
        default = ""
    elif isinstance(default, bool):
        default = "on" if default else "off"
    else:
        default = f"`{getattr(default, 'value', default)}`"
    meaning = _plain(parameter.help)
    if parameter.envvar:
        meaning += f" Environment: `{parameter.envvar}`."
    return f"| {', '.join(f'`{name}`' for name in names)} | {meaning} | {default} |"


def _settings(name: str) -> list[str]:
    """The table of what --set takes."""
    rows = [
        f"| `{each.name}` | {_plain(each.meaning)} | {_plain(each.values)} | {_plain(each.default)} |"
        for each in set_names(name.split()[-1])
    ]
    head = ["| NAME of `--set` | meaning | values | default |", "| --- | --- | --- | --- |"]
    return [
        f"`{name} --set NAME=VALUE` takes these. A preset, or the data, may ask for another default.",
        "",
        *head,
        *rows,
        "",
    ]


def _plain(text: str | None) -> str:
    """A help text in one line, as Markdown shows it literally."""
    text = " ".join((text or "").split()).replace("\\[", "[")
    for sign in "\\|*<>[]_`":
        text = text.replace(sign, "\\" + sign)
    return text
