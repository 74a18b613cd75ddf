"""`noisezoo models`: the zoo as a table, one view with its cost, or a row for a model that has none."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated, Any, get_args

import typer

from noisezoo import zoo
from noisezoo.builder.models import describe, row_yaml
from noisezoo.commands import options, register_command
from noisezoo.commands.output import facts_table, make_table, plain_console, print_json, rounded, size_text
from noisezoo.costs import cost_of
from noisezoo.errors import UsageError

CLIP = {None: "-", True: "yes", False: "no"}
MEANING = {"noise": "noise, by inverting a diffusion model", "embedding": "the embedding of an encoder",
           "control": "a control"}  # fmt: skip
WIDE, NARROWED = 120, ("kind", "objective", "licence")
"""A terminal with fewer columns gets no kind (rows are grouped by it), and the others by `noisezoo models NAME`."""
COLUMNS: dict[str, Callable[[zoo.View], str]] = {
    "view": lambda row: row.name, "kind": lambda row: row.kind, "shape": lambda row: "x".join(map(str, row.shape)),
    "px": lambda row: str(row.resolution), "CLIP": lambda row: CLIP[row.clip_conditioned],
    "objective": lambda row: row.objective or "-",
    "gated": lambda row: "yes" if row.gated else "", "licence": lambda row: row.license,
    "GFLOP": lambda row: f"{row.gflops:,g}" if row.gflops else "-", "what": lambda row: row.about,
}  # fmt: skip


@register_command("models", "Start")
def models(
    name: Annotated[str | None, typer.Argument(help="One view, in detail and with its cost.")] = None,
    kind: Annotated[zoo.Kind | None, typer.Option(help="These views alone.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The untrained twin of every network too.")] = False,
    images: Annotated[int, typer.Option(min=1, help="Count the cost of NAME for this many images.")] = 30_000,
    steps: Annotated[int, typer.Option(min=1, help="... inverted in this many steps.")] = 50,
    guided: Annotated[
        bool, typer.Option("--guided", help="... with a prompt: two forwards a step, unless guidance is an input.")
    ] = False,
    described: Annotated[
        str | None,
        typer.Option("--describe", help="FAMILY:FOLDER_OR_HUB_ID: print a row for it, to paste into a recipe."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the zoo: every way to turn an image into an array.

    Example: noisezoo models sd15 --images 30000 --steps 50
    """
    if described is not None:
        family, _, folder = described.partition(":")
        if not (family and folder):
            raise UsageError(f"--describe takes FAMILY:FOLDER_OR_HUB_ID, as in diffusers:./my-model, not {described!r}")
        print(row_yaml(describe(family, folder)), end="")
    elif name is None:
        _show_all(kind, everything, as_json)
    else:
        _show(zoo.get(name), images, steps, guided, as_json)


def _show_all(kind: zoo.Kind | None, everything: bool, as_json: bool) -> None:
    """The zoo as a table, grouped by kind; untrained twins only where `everything` is asked for."""
    kinds = get_args(zoo.Kind) if kind is None else (kind,)
    rows = [row for each in kinds for row in zoo.rows() if row.kind == each]
    shown = [row for row in rows if everything or not row.untrained]
    if as_json:
        print_json([_as_json(row) for row in shown])
        return
    console = plain_console()
    columns = [name for name in COLUMNS if console.width >= WIDE or name not in NARROWED]
    table = make_table(*columns)
    table.columns[0].no_wrap = True
    for row, after in zip(shown, [*shown[1:], None], strict=True):
        table.add_row(*(COLUMNS[name](row) for name in columns), end_section=after is None or after.kind != row.kind)
    console.print(table)
    if hidden := len(rows) - len(shown):
        console.print(f"{hidden} views named NAME-untrained, the same networks before training: show them with --all")


def _as_json(row: zoo.View) -> dict[str, Any]:
    return {**asdict(row), "size": row.size, "dtype": row.dtype}


def _show(row: zoo.View, images: int, steps: int, guided: bool, as_json: bool) -> None:
    """One row, and what `images` pictures of it cost."""
    cost = cost_of(row, images, steps, guided)
    if as_json:
        costs = {"forwards": cost.forwards, "cost_gflops": cost.gflops, "h100_hours": cost.h100_hours}
        print_json({**_as_json(row), "images": images, "steps": steps, **costs, "bytes": cost.bytes})
        return
    facts, inverted = list(_facts(row)), row.family == "diffusers"
    twice = " (guided: two a step)" if guided and inverted else ""
    facts.append((f"{images:,} images{f' x {steps} steps' * inverted}", f"{cost.forwards:,.0f} forwards{twice}"))
    if cost.gflops:
        facts.append(("", f"{rounded(cost.gflops / 1e6)} PFLOP"))
        facts.append(("", f"{rounded(cost.h100_hours, 2)} hours of one H100, at 40 % of its bf16 peak"))
    facts.append(("", f"{size_text(cost.bytes)} of {row.dtype}, before compression"))
    plain_console().print(facts_table(facts))


def _facts(row: zoo.View) -> Iterator[tuple[str, str]]:
    """What a row says, in words."""
    yield row.name, row.about
    yield "kind", f"{MEANING[row.kind]} ({row.family})"
    if row.repo:
        at = "" if row.folder else f"at {row.revision or 'main, pinned by the build'}"
        ours = row.repo.startswith("testbed:")
        yield "weights", f"{row.repo} {'(ships with NoiseZoo)' if ours else at}".rstrip()
        yield "format", ".bin pickles, read through weights_only" if row.pickled else "safetensors"
        yield "licence", row.license
        yield "access", _access(row)
    yield "picture", f"{row.resolution} x {row.resolution} px"
    yield "row", f"{COLUMNS['shape'](row)} {row.dtype}, {row.size:,} numbers"
    if row.clip_conditioned is not None:
        yield "conditioned on CLIP", CLIP[row.clip_conditioned]
    if row.objective is not None:
        yield "trained for", row.objective
    if row.autoencoder is not None:
        yield "autoencoder", f"view {row.autoencoder}, {row.autoencoder_gflops:,g} GFLOP an image"
    if row.baseline is not None:
        yield "before training", f"view {row.baseline}"
    if row.untrained:
        yield "start", "weights of its own" if row.init_seed is None else f"random, from seed {row.init_seed}"
    yield "work", f"{row.gflops:,g} GFLOP a forward of one image" if row.gflops else "no network"


def _access(row: zoo.View) -> str:
    if not row.gated or row.folder is not None:
        return "open"
    from huggingface_hub import constants

    page = f"{constants.ENDPOINT}/{row.repo}"
    return f"gated: accept its licence at {page} and run `hf auth login`, or build with --folder {row.name}=PATH"
