"""`noisezoo demo`: the whole thing, small and honest."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from noisezoo.analysis.report import write_report
from noisezoo.analysis.studies import Analysis, Effort, Options, all_studies
from noisezoo.builder.launch import build_datasets, default_processes
from noisezoo.builder.recipe import read_recipe
from noisezoo.commands import analyze, register_command
from noisezoo.commands.bars import Bars
from noisezoo.commands.output import load_call, make_table, plain_console
from noisezoo.loading import load


class Part(NamedTuple):
    """One dataset of the demo: its recipe, the models to regenerate through, what to edit, judge and invert again."""

    recipe: str
    models: tuple[str, ...]
    edits: tuple[str, ...] = ()
    judge: str | None = None
    again: tuple[str, ...] = ()

    @property
    def variant(self) -> str:
        """Folder of the same images, inverted by the paper's scheme and steps."""
        return f"{self.recipe}-ddim-50"


EFFORT = Effort(n_splits=6, n_permutations=5, max_rows=240)
"""A sketch: `noisezoo analyze` draws more, of more images."""
LEFT_OUT = ("learning", "spurious", "paper", "regression")
BESIDE = ("edits", "shared")
"""Studies of the first part that the second process computes: with the other parts, about half of the work."""
PAPER = {"scheme": "ddim", "num_inference_steps": 50, "span": None}
PARTS = (
    Part(
        "faces", ("faces-ddpm", "faces-ldm-uncond"), edits=("Smiling", "Eyeglasses"), judge="faces-clip",
        again=("faces-ldm-uncond",),
    ),
    Part("digits", ("digits-ddpm",)),
)  # fmt: skip


@register_command("demo", "Start")
def demo(
    out: Annotated[Path, typer.Option(help="Where the two datasets and the report go.")] = Path("build/demo"),
    processes: Annotated[int | None, typer.Option(help="Processes that build; one a core by default.")] = None,
) -> None:
    """Build two small datasets, analyse them and write a report.

    Example: noisezoo demo --out build/demo
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes to come: small networks lose time on a second thread
    console, started = plain_console(), time.time()
    console.print(Text("build", style="bold"))
    wanted = [(read_recipe(part.recipe), out / part.recipe) for part in PARTS]
    again = [(part, {"views": list(part.again), "settings": PAPER}) for part in PARTS if part.again]
    wanted += [(read_recipe(part.recipe, fields), out / part.variant) for part, fields in again]
    processes = processes or default_processes(wanted[0][0].settings.threads)
    with Bars(console, processes) as bars:
        outcomes = build_datasets(wanted, processes=processes, watch=bars.update, say=bars.say)
    for outcome in outcomes:  # as any user would, which is also a check that the folder stands on its own
        rows = load(outcome.root)
        counts = ", ".join(f"{name} {n}" for name, n in Counter(rows["split"]).items())
        console.print(f"{load_call(outcome.root)}: {counts} rows, {len(rows.column_names)} columns")
    analyses = _analyses(out, console)
    report = write_report(analyses, out, title="NoiseZoo demo", run=analyze.about(quick=True))
    table = make_table("dataset", "images", "refused", "views", "folder")
    for outcome, (name, analysis) in zip(outcomes, analyses.items(), strict=False):  # variants come last
        images = analysis.results["dataset"]["rows"]
        counted = (images, outcome.views[0].total - images, len(outcome.views))
        table.add_row(name, *map(str, counted), str(outcome.root))
    console.print(Text("summary", style="bold"), table, sep="\n")
    for name, analysis in analyses.items():
        console.print(Text(name, style="bold"))
        analyze.show_verdicts(analysis, console)
    paths = f"Report: {report.resolve()}\nNumbers: {report.with_name('results.json').resolve()}"
    console.print(Panel(f"{paths}\nDone in {time.time() - started:.0f} s.", expand=False))


def _analyses(out: Path, console: Console) -> dict[str, Analysis]:
    """Every part's analysis: some studies of the first, and all of the others, in a process beside."""
    first, *others = PARTS
    studies = _studies(first)
    with ProcessPoolExecutor(1, get_context("spawn")) as beside:
        rest = beside.submit(_analyze, first, out, [name for name in studies if name in BESIDE])
        small = {part.recipe: beside.submit(_analyze, part, out, _studies(part)) for part in others}
        _analyze(first, out, [name for name in studies if name not in BESIDE], console)
        console.print(f"analyse {first.recipe}: the last studies of the process beside")
        rest.result()
        whole = _analyze(first, out, studies)  # of what both have kept
        return {first.recipe: whole, **{name: analysis.result() for name, analysis in small.items()}}


def _studies(part: Part) -> list[str]:
    left_out = (*LEFT_OUT, *([] if part.again else ["inversions"]))
    return [name for name in all_studies() if name not in left_out]


def _analyze(part: Part, out: Path, studies: Sequence[str], console: Console | None = None) -> Analysis:
    folder = out / part.recipe
    recipe = analyze.read_recipe_of(folder)
    options = Options(
        effort=EFFORT, models=[analyze.make_model(name, recipe) for name in part.models], edits=part.edits,
        judge=analyze.make_judge(part.judge) if part.judge else None,
        variants={"ddim-50": out / part.variant} if part.again else {},
    )  # fmt: skip
    quiet, kept = Console(quiet=True), out / analyze.KEPT / part.recipe
    return analyze.analyze_with_progress(folder, console or quiet, options, studies=studies, keep=kept)
