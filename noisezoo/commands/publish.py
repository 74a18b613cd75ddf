"""`noisezoo publish`: verify a dataset, send it to the Hub and say what was sent."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noisezoo.builder.audit import verify
from noisezoo.builder.dataset import bring, publish as send
from noisezoo.commands import options, register_command
from noisezoo.commands.output import plain_console
from noisezoo.errors import UsageError
from noisezoo.record import record_of


@register_command("publish", "Share")
def publish(
    folder: Annotated[Path, typer.Argument(help="A finished dataset's folder, or its URL in object storage.")],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The dataset repository, made if there is none.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see the repository.")] = False,
    gated: Annotated[
        Literal["manual", "auto", "no"] | None,
        typer.Option(help="How readers get access; manual by default where rows bring back faces."),
    ] = None,
    redistribute: Annotated[
        bool, typer.Option("--redistribute", help="Publish arrays that were imported from others, under their terms.")
    ] = False,
    without: Annotated[
        str | None, typer.Option(help="Views to leave out, separated by commas, as `pixels` of photographs.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing, and say what would be sent.")] = False,
) -> None:
    """Verify a dataset and send what the Hub does not have yet; one commit makes it visible. May be run again.

    Example: noisezoo publish my-faces me/my-faces --dry-run
    """
    names = options.split_names(without)
    if without is not None and not names:
        raise UsageError("--without names no view: write them separated by commas, as in --without pixels")
    folder = Path(bring(folder))
    sensitive = any(section.sensitive for section in record_of(folder).sections) and gated != "no"
    gate = None if gated == "no" else gated
    done = send(
        folder, repo, check=lambda root: verify(root).raise_if_bad(), private=not public, gated=gate,
        sensitive=sensitive, dry_run=dry_run, redistribute=redistribute, without=names,
    )  # fmt: skip
    console, would = plain_console(), "would be " if dry_run else ""
    for path in done.uploaded:
        console.print(f"{would}sent: {path}")
    for path in done.deleted:
        console.print(f"{would}deleted: {path}")
    console.print(
        f"{done.repo_id} {done.tag}: {len(done.uploaded)} files ({done.uploaded_bytes / 1e6:.1f} MB) {would}sent, "
        f"{len(done.skipped)} ({done.skipped_bytes / 1e6:.1f} MB) there already, {len(done.deleted)} {would}deleted."
    )
    if not dry_run:
        console.print(f'Load it: datasets.load_dataset("{done.repo_id}", revision="{done.tag}")')
