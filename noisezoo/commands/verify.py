"""`noisezoo verify`: check a dataset, one fault a line."""

from dataclasses import asdict
from typing import Annotated

import typer

from noisezoo.builder.audit import verify as check
from noisezoo.builder.sources import open_source
from noisezoo.commands import options, register_command
from noisezoo.commands.output import plain_console, print_json
from noisezoo.errors import NoiseZooError, UsageError


@register_command("verify", "Share")
def verify(
    dataset: Annotated[
        str, typer.Argument(help="A published folder, a URL in object storage, or a dataset id on the Hub.")
    ],
    revision: options.Revision = None,
    recompute: Annotated[int, typer.Option(min=0, help="Rows of each source to compute again from its images.")] = 0,
    source: Annotated[str | None, typer.Option(help="Where those images are, as in `noisezoo build --source`.")] = None,
    source_options: options.SourceOptions = None,
    folders: options.Folders = None,
    as_json: options.Json = False,
) -> None:
    """Check every byte, row, pair and figure of a dataset; exit code 1 where there is a fault, one a line.

    Example: noisezoo verify my-faces --recompute 20
    """
    if source_options and source is None:
        raise UsageError("--option is an option of --source: give that too")
    images = None if source is None else open_source(source, options.read_source_options(source_options))
    local = options.read_folders(folders)
    report = check(dataset, revision=revision, recompute=recompute, source=images, folders=local)
    if as_json:
        print_json({"dataset": dataset, "ok": report.ok, **asdict(report)})
    else:
        recomputed = (
            f"{row.config}: "
            + (row.reason or f"{row.rows} rows computed again, the farthest {row.worst:.2g} of its norm away")
            for row in report.recomputed
        )
        lines = (*map(str, report.findings), *(f"not checked: {each}" for each in report.skipped), *recomputed)
        checked = f"Checked {report.files} files, {report.bytes / 1e6:.1f} MB, {report.rows} rows."
        plain_console().print(*lines, checked, sep="\n")
    if count := len(report.findings):
        raise NoiseZooError(f"{dataset} has {count} fault{'s' if count > 1 else ''}")
