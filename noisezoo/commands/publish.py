"""`noisezoo verify`, `publish`, `remove` and `join`: what is done with a dataset that is built."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from noisezoo.commands.build import read_options, split_names, split_pair
from noisezoo.errors import NoiseZooError, UsageError, describe
from noisezoo.record import Record, record_of

if TYPE_CHECKING:
    from noisezoo.builder.audit import Report
    from noisezoo.builder.dataset import Published

GATES: dict[str, Literal["manual", "auto"] | None] = {"manual": "manual", "auto": "auto", "no": None}


def run_verify(
    dataset: str, *, revision: str | None, recompute: int, source: str | None, options: Sequence[str],
    folders: Sequence[str],
) -> None:  # fmt: skip
    """Print every fault, one a line, and what was checked; raises NoiseZooError where there is a fault."""
    from noisezoo.builder.audit import verify
    from noisezoo.builder.sources import open_source

    if options and source is None:
        raise UsageError("--option is an option of --source: give that too")
    images = None if source is None else open_source(source, read_options(options))
    local = dict(split_pair(each, "--folder", "NAME=PATH", "sd15=models/sd15") for each in folders)
    report = verify(dataset, revision=revision, recompute=recompute, source=images, folders=local)
    show_report(report)
    if not report.ok:
        count = len(report.findings)
        raise NoiseZooError(f"{dataset} has {count} fault{'s' if count > 1 else ''}")


def show_report(report: "Report") -> None:
    """Faults one a line, what was not checked, and how much was."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for finding in report.findings:
        console.print(str(finding))
    for each in report.skipped:
        console.print(f"not checked: {each}")
    for row in report.recomputed:
        told = row.reason or f"{row.rows} rows computed again, the farthest {row.worst:.2g} of its norm away"
        console.print(f"{row.config}: {told}")
    console.print(f"Checked {report.files} files, {report.bytes / 1e6:.1f} MB, {report.rows} rows.")


def run_publish(folder: Path, repo: str, *, public: bool, gated: str | None, dry_run: bool) -> None:
    """Verify and publish, and tell what was sent."""
    from noisezoo.builder.audit import verify
    from noisezoo.builder.dataset import publish

    if gated is not None and gated not in GATES:
        raise UsageError(f"--gated {gated}: choose manual, auto or no")
    record = record_of(folder)
    sensitive = any(section.sensitive for section in record.sections) and gated != "no"
    published = publish(
        folder, repo, check=lambda root: verify(root).raise_if_bad(), private=not public,
        gated=GATES[gated] if gated else None, sensitive=sensitive, dry_run=dry_run,
    )  # fmt: skip
    show_published(published, dry_run)


def show_published(published: "Published", dry_run: bool) -> None:
    """Every path that was sent or deleted, and the version."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    would = "would be " if dry_run else ""
    for path in published.uploaded:
        console.print(f"{would}sent: {path}")
    for path in published.deleted:
        console.print(f"{would}deleted: {path}")
    sent, kept = published.uploaded_bytes / 1e6, published.skipped_bytes / 1e6
    console.print(
        f"{published.repo_id} {published.tag}: {len(published.uploaded)} files ({sent:.1f} MB) {would}sent, "
        f"{len(published.skipped)} ({kept:.1f} MB) there already, {len(published.deleted)} {would}deleted."
    )
    if not dry_run:
        console.print(f'Load it: datasets.load_dataset("{published.repo_id}", revision="{published.tag}")')


def run_remove(folder: Path, *, ids: str | None, ids_file: Path | None, source: str | None) -> None:
    """Remove images, and tell what is left."""
    from noisezoo.builder.dataset import remove
    from noisezoo.builder.engine import STATE

    wanted = [*split_names(ids), *(_read_ids(ids_file) if ids_file else ())]
    if not wanted:
        raise UsageError("no image is named: give --ids a,b or --ids-file FILE, with one id a line")
    record = remove(folder, wanted, source=source)
    console = Console(soft_wrap=True, highlight=False)
    show_record(record, console)
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


def run_join(folders: Sequence[Path], out: Path) -> None:
    """Join, and tell what each source's configs are called."""
    from noisezoo.builder.dataset import join

    console = Console(soft_wrap=True, highlight=False)
    show_record(join(folders, out), console)
    console.print(f'Load it: datasets.load_dataset("{out}")')


def show_record(record: Record, console: Console) -> None:
    """One row a source: its images and its configs."""
    table = Table("source", "images", "refused", "removed", "configs")
    for section in record.sections:
        counts = (str(count) for count in (section.rows, section.refused, section.removed))
        table.add_row(section.source, *counts, ", ".join(section.configs))
    console.print(table)
