"""The command line: collect the commands of `noisezoo/commands/` and of plug-ins, and run one.

Exit codes: 0 done, 1 failed, 2 bad usage, 3 incomplete (the same command goes on).
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from noisezoo.commands import commands
from noisezoo.errors import NoiseZooError, describe

INTERRUPTED = 130
"""Exit code after Ctrl-C; Typer returns it."""


def make_app() -> typer.Typer:
    """The application, with every command of the table.

    Raises:
        UsageError: A plug-in fails to import.
    """
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback()(_about)
    for command in commands():
        if isinstance(command.run, typer.Typer):
            app.add_typer(command.run, name=command.name, rich_help_panel=command.panel)
        else:
            app.command(command.name, rich_help_panel=command.panel)(command.run)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"noisezoo {version('noisezoo')}")
        raise typer.Exit


def _about(
    shown: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Diffusion noise and encoder embeddings of the same images: build them, load them, analyse them."""


def main() -> None:
    """Run a command; a failure is one line that names the thing and the mend."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        code = make_app()(prog_name="noisezoo", standalone_mode=False)
    except NoiseZooError as error:
        _fail(str(error), error.exit_code)
    except typer.TyperException as error:  # the command line itself is wrong
        _fail(_usage(error), error.exit_code)
    except OSError as error:
        _fail(describe(error), 1)
    if code == INTERRUPTED:
        _fail("stopped; run the same command to go on", INTERRUPTED)
    sys.exit(code or 0)


def _usage(error: typer.TyperException) -> str:
    """What is wrong and where to read on; nothing if the error is the help that a group shows without arguments."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    return f"{message.rstrip('.')}; see `{context.command_path} --help`" if message and context else message


def _fail(message: str, code: int) -> NoReturn:
    from rich.console import Console
    from rich.text import Text

    if message:
        Console(stderr=True, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), message))
    sys.exit(code)


if __name__ == "__main__":
    main()
