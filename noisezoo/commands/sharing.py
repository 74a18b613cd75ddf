"""The commands on a finished dataset: verify, publish, remove, join."""

from pathlib import Path
from typing import Annotated

import typer


def verify(
    dataset: Annotated[str, typer.Argument(help="A published folder, or a dataset id on the Hub.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    recompute: Annotated[int, typer.Option(min=0, help="Rows of each source to compute again from its images.")] = 0,
    source: Annotated[str | None, typer.Option(help="Where those images are, as in `noisezoo build --source`.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="An option of that source, KEY=VALUE; may be repeated.")
    ] = None,
    folders: Annotated[
        list[str] | None, typer.Option("--folder", help="A local model, as in --folder sd15=PATH; may be repeated.")
    ] = None,
) -> None:
    """Check every byte, row, pair and figure of a dataset; exit code 1 where there is a fault, one a line.

    Example: noisezoo verify my-faces --recompute 20
    """
    from noisezoo.commands.publish import run_verify

    run_verify(
        dataset, revision=revision, recompute=recompute, source=source, options=options or [], folders=folders or []
    )


def publish(
    folder: Annotated[Path, typer.Argument(help="A finished dataset's folder.")],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The dataset repository, made if there is none.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see the repository.")] = False,
    gated: Annotated[
        str | None, typer.Option(help="manual, auto or no: how readers get access; manual where rows bring back faces.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing, and say what would be sent.")] = False,
) -> None:
    """Verify a dataset and send what the Hub does not have yet; one commit makes it visible. May be run again.

    Example: noisezoo publish my-faces me/my-faces --dry-run
    """
    from noisezoo.commands.publish import run_publish

    run_publish(folder, repo, public=public, gated=gated, dry_run=dry_run)


def remove(
    folder: Annotated[Path, typer.Argument(help="A published dataset's folder.")],
    ids: Annotated[str | None, typer.Option(help="Image ids, separated by commas.")] = None,
    ids_file: Annotated[Path | None, typer.Option(help="A file of image ids, one a line.")] = None,
    source: Annotated[str | None, typer.Option(help="Of this source alone, in a dataset of several.")] = None,
) -> None:
    """Make a new version without these images: every config, PCA bases and refusals; a later build leaves them out.

    Example: noisezoo remove my-faces --ids faces-000003,faces-000008
    """
    from noisezoo.commands.publish import run_remove

    run_remove(folder, ids=ids, ids_file=ids_file, source=source)


def join(
    folders: Annotated[list[Path], typer.Argument(help="Published folders; the first one's configs keep their names.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder, or that of an earlier join of some of these.")],
) -> None:
    """Put several sources into one dataset: the others' configs are called SOURCE.VIEW.

    Example: noisezoo join my-faces my-digits --out my-zoo
    """
    from noisezoo.commands.publish import run_join

    run_join(folders, out)


COMMANDS = (verify, publish, remove, join)
"""In the order of the help."""
