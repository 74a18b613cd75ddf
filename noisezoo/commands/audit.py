"""`noisezoo audit`: how much of a dataset's noise is the image, and what is read from it beyond that."""

from pathlib import Path
from typing import Annotated

import typer

from noisezoo.analysis.report import begin_report, write_report
from noisezoo.commands import options, register_command
from noisezoo.commands.analyze import about, analyze_with_progress, show_scorecard, show_verdicts, with_pictures
from noisezoo.commands.output import plain_console


@register_command("audit", "Analyse")
def audit(
    dataset: Annotated[str, typer.Argument(help="A built or imported folder, or a dataset id on the Hub.")],
    out: Annotated[Path, typer.Option(help="Where report.html and results.json go.")] = Path("audit"),
    views: Annotated[str | None, typer.Option(help="Views, separated by commas; all by default.")] = None,
    revision: options.Revision = None,
    source: options.Pictures = None,
    source_options: options.SourceOptions = None,
) -> None:
    """Say where x_T ends, how much of it is the image, and what probes read beyond the majority rule and the controls.

    Example: noisezoo audit my-faces --out my-audit
    """
    console = plain_console()
    begin_report(out)
    wanted = options.split_names(views) or None
    pictures = with_pictures(dataset, console, source, source_options, wanted, revision)
    analysis = analyze_with_progress(dataset, console, views=wanted, revision=revision, studies=["audit"], **pictures)
    name = Path(dataset).name
    path = write_report({name: analysis}, out, title=f"NoiseZoo audit: {name}", run=about(quick=False))
    show_verdicts(analysis, console)
    show_scorecard(analysis, console)
    console.print(f"Report: {path}")
