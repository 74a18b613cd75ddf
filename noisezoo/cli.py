"""The command line: collect the commands of `noisezoo/commands/` and of plug-ins, and run one.

Exit codes: 0 done, 1 failed, 2 bad usage, 3 incomplete (the same command goes on).
"""

import os
import sys

import typer

from noisezoo.commands import commands
from noisezoo.errors import NoiseZooError, describe


def make_app() -> typer.Typer:
    """The application, with every command of the table.

    Raises:
        UsageError: A plug-in fails to import.
    """
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
                      pretty_exceptions_enable=False)  # fmt: skip
    app.callback()(_about)
    for command in commands():
        if isinstance(command.run, typer.Typer):
            app.add_typer(command.run, name=command.name, rich_help_panel=command.panel)
        else:
            app.command(command.name, rich_help_panel=command.panel)(command.run)
    return app


def _about() -> None:
    """Diffusion noise and encoder embeddings of the same images: build them, load them, analyse them."""


def main() -> None:
    """Run a command; a failure is one line that names the thing and the mend."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        make_app()()
    except NoiseZooError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(describe(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on", 130)


def _fail(message: str, code: int) -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("error: ", "bold red"), message)
    Console(stderr=True, soft_wrap=True).print(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
