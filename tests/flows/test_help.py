"""The command line before anything runs: panels, choices, completion, and what it takes to show them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command
from typer.testing import Result

from docs.reference import reference
from flows.__main__ import app
from flows.cli.panels import PANELS
from flows.cli.set_names import assigned, set_names, settings_of
from rnnfast.models.choices import CellChoice, WindowCell

RunCli = Callable[..., Result]


def parameters(name: str) -> list[Any]:
    command: Any = get_command(app)
    return [each for each in command.commands[name].params if each.name != "help"]


@pytest.mark.parametrize("name", ["reviews", "sensors", "score"])
def test_every_option_is_in_a_panel_and_says_what_it_is(run_cli: RunCli, name: str) -> None:
    panels = [each.rich_help_panel for each in parameters(name)]
    assert panels == sorted(panels, key=PANELS.index)
    assert list(dict.fromkeys(panels)) == [each for each in PANELS if each in panels]
    for each in parameters(name):
        assert each.help[0].isupper(), each.name
        assert each.help.endswith("."), each.name
    shown = run_cli(name, "--help").output
    places = [shown.index(f"─ {panel} ─") for panel in dict.fromkeys(panels)]
    assert places == sorted(places)


def test_reviews_and_sensors_have_the_same_options_of_scale_registry_and_run() -> None:
    def names(command: str) -> set[str]:
        shared = ("Scale", "Registry", "Run")
        return {each.name for each in parameters(command) if each.rich_help_panel in shared}

    assert names("reviews") == names("sensors")
    scale = {"engine", "workers", "address", "shard_rows", "memory_limit"}
    assert scale < names("sensors") & {each.name for each in parameters("score")}


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        ("reviews", "--cell", get_args(CellChoice)),
        ("sensors", "--cell", ("auto", *get_args(WindowCell))),
        ("sensors", "--task", ("forecast", "classify", "tag", "regress")),
        ("reviews", "--split-by", ("auto", "spaces", "characters")),
        ("reviews", "--preset", ("default", "lecture")),
        ("sensors", "--engine", ("local", "ray")),
        ("score", "--engine", ("local", "ray")),
    ],
)
def test_a_wrong_choice_lists_the_right_ones(
    run_cli: RunCli, command: str, option: str, choices: tuple[str, ...]
) -> None:
    required = ["--model", "m", "--input", "i", "--output", "o"] if command == "score" else []
    result = run_cli(command, *required, option, "wrong")
    assert result.exit_code == 2
    listed = ", ".join(map(repr, choices))
    assert option in result.stderr
    assert f"'wrong' is not one of {listed}" in result.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("rnnfast sens", ["sensors"]),
        ("rnnfast reviews --cell ", list(get_args(CellChoice))),
        ("rnnfast sensors --engine l", ["local"]),
        ("rnnfast sensors --memory", ["--memory-limit"]),
        ("rnnfast models pro", ["promote"]),
        ("rnnfast sensors --set test_sh", ["test_share="]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(typed: str, offered: list[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    result = run("-m", "flows", _RNNFAST_COMPLETE="complete_bash", **words)
    assert result.stdout.split() == offered


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_completion_is_installed_for_the_program(tmp_path: Path) -> None:
    bash = ["bash", "-c", f"{sys.executable} -m flows --install-completion; true"]
    subprocess.run(bash, env=os.environ | {"HOME": str(tmp_path)}, check=True, capture_output=True)
    [script] = tmp_path.glob(".bash_completions/*")
    assert script.read_text().rstrip().endswith(" rnnfast")


def test_help_takes_no_torch_and_no_prefect() -> None:
    code = """
import sys
from flows.__main__ import app
try:
    app(["reviews", "--help"])
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""
    heavy = {"torch", "prefect", "numpy", "pyarrow", "rnnfast.models.config", "flows.parameters"}
    assert not heavy & set(run("-c", code).stderr.split())


@pytest.mark.parametrize("command", ["reviews", "sensors", "pretrain"])
def test_the_reference_and_the_command_show_every_name_of_set(
    run_cli: RunCli, command: str
) -> None:
    names = {each.name: each for each in set_names(command)}
    fields = {name for kind in settings_of(command) for name in kind.model_fields}
    assert names.keys() == fields - {"cell", "reading"}
    shown = run_cli(command, "--list-settings").stdout
    page = reference().split(f"## rnnfast {command}\n")[1].split("\n## ")[0]
    for name in names:
        assert f"\n{name} " in shown
        assert f"\n| `{name}` |" in page
        assert assigned([f"{name}=x"], command).count({name: "x"}) == 1
    name, default, meaning = {
        "pretrain": ("validation_share", "0.02", "The share of the texts")
    }.get(command, ("test_share", "0.2", "The share of the rows to test on"))
    share = names[name]
    assert (share.default, share.values) == (default, "number, above 0, below 1")
    assert share.meaning.startswith(meaning)
    assert names["order" if command == "sensors" else "split_by"].values in (
        "auto, spaces, characters",
        "time, file",
    )


def test_how_files_are_read_holds_for_reviews(run_cli: RunCli, reviews_csv: Path) -> None:
    options = ["--dataset", reviews_csv, "--dry-run"]
    assert run_cli("reviews", *options, "--separator", ",").exit_code == 0
    result = run_cli("reviews", *options, "--separator", ";")
    assert result.exit_code == 2
    assert "--text-column" in result.stderr
