"""`noisezoo remove`: a version of a dataset without some images."""

from pathlib import Path
from typing import Annotated

import typer

from noisezoo.builder.dataset import remove as make_version_without
from noisezoo.builder.engine import STATE
from noisezoo.commands import options, register_command
from noisezoo.commands.output import plain_console, show_record
from noisezoo.errors import UsageError, describe


@register_command("remove", "Share")
def remove(
    folder: Annotated[Path, typer.Argument(help="A published dataset's folder.")],
    ids: Annotated[str | None, typer.Option(help="Image ids, separated by commas.")] = None,
    ids_file: Annotated[Path | None, typer.Option(help="A file of image ids, one a line.")] = None,
    source: Annotated[str | None, typer.Option(help="Of this source alone, in a dataset of several.")] = None,
) -> None:
    """Make a new version without these images: every config, PCA bases and refusals; a later build leaves them out.

    Example: noisezoo remove my-faces --ids faces-000003,faces-000008
    """
    wanted = [*options.split_names(ids), *(_read_ids(ids_file) if ids_file else ())]
    if not wanted:
        raise UsageError("no image is named: give --ids a,b or --ids-file FILE, with one id a line")
    record = make_version_without(folder, wanted, source=source)
    console = plain_console()
    show_record(record)
    if (folder / STATE).is_dir():
        console.print(
            f"No later build brings them back. The build's own {folder / STATE}, which is never published, still holds "
            "their rows: delete it to be rid of those too."
        )
    console.print(
        "Copies, joined datasets and earlier versions on the Hub keep them: join and publish again, and delete the old "
        "tags and the history there."
    )


def _read_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read ids from {path}: {describe(error)}") from error
    return [line.strip() for line in lines if line.strip()]
