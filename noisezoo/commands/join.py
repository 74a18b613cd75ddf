"""`noisezoo join`: several sources in one dataset."""

from pathlib import Path
from typing import Annotated

import typer

from noisezoo.builder.dataset import join as join_folders
from noisezoo.commands import register_command
from noisezoo.commands.output import load_call, plain_console, show_record


@register_command("join", "Share")
def join(
    folders: Annotated[
        list[Path], typer.Argument(help="Published folders or URLs; the first one's configs keep their names.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new folder, or that of an earlier join of some of these.")],
) -> None:
    """Put several sources into one dataset: the others' configs are called SOURCE.VIEW.

    Example: noisezoo join my-faces my-digits --out my-zoo
    """
    show_record(join_folders(folders, out))
    plain_console().print(f"Load it: {load_call(out)}")
