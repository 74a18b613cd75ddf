"""The commands, a file each: it holds the options, the work and the output of one command, and registers it here."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import typer

from noisezoo.errors import UsageError
from noisezoo.plugins import load_package

C = TypeVar("C", bound="Callable[..., Any] | typer.Typer")
PANELS = ("Start", "Build", "Share", "Analyse", "Plug-ins")
"""Groups of commands, in the order of `noisezoo --help`."""


class Command(NamedTuple):
    """An entry of the table: its word, one of `PANELS`, a function that Typer reads or a group, who registered it."""

    name: str
    panel: str
    run: Callable[..., Any] | typer.Typer
    module: str


_COMMANDS: dict[str, Command] = {}


def register_command(name: str, panel: str = PANELS[-1]) -> Callable[[C], C]:
    """A decorator that adds a command to `noisezoo`: a function that Typer can read, or a Typer app.

    Raises:
        UsageError: Another command has that name; says which modules register them.
    """
    module = sys._getframe(1).f_globals["__name__"]

    def register(run: C) -> C:
        if name in _COMMANDS:
            raise UsageError(f"{_COMMANDS[name].module} and {module} both add a command `noisezoo {name}`: rename one")
        _COMMANDS[name] = Command(name, panel, run, module)
        return run

    return register


def commands() -> list[Command]:
    """All commands, in the order of the help; those of plug-ins too."""
    load_package(__name__)
    return sorted(_COMMANDS.values(), key=lambda command: (PANELS.index(command.panel), command.name))
