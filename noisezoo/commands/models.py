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
WIDE = 120
"""A terminal with fewer columns gets no kind (rows are grouped by it) and no licence (`noisezoo models NAME`)."""
COLUMNS: dict[str, Callable[[zoo.View], str]] = {
    "view": lambda row: row.name, "kind": lambda row: row.kind, "shape": lambda row: _shape(row),
    "px": lambda row: str(row.resolution), "CLIP": lambda row: CLIP[row.clip_conditioned],
    "gated": lambda row: "yes" if row.gated else "", "licence": lambda row: row.license,
    "GFLOP": lambda row: f"{row.gflops:,g}" if row.gflops else "-", "what": lambda row: row.about,
}  # fmt: skip


@register_command("models", "Start")
def models(
    name: Annotated[str | None, typer.Argument(help="One view, in detail and with its cost.")] = None,
    kind: Annotated[str | None, typer.Option(help="noise, embedding or control: these views alone.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The untrained twin of every network too.")] = False,
    images: Annotated[int, typer.Option(help="Count the cost of NAME for this many images.")] = 30_000,
    steps: Annotated[int, typer.Option(help="... inverted in this many steps.")] = 50,
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
        show_described(described)
    elif name is not None:
        show_model(name, images, steps, guided, as_json)
    else:
        show_models(kind, everything, as_json)


def show_models(kind: str | None = None, everything: bool = False, as_json: bool = False) -> None:
    """The zoo as a table, grouped by kind; untrained twins only where `everything` is asked for.

    Raises:
        UsageError: No such kind.
    """
    kinds = get_args(zoo.Kind)
    if kind not in (None, *kinds):
        raise UsageError(f"unknown kind {kind!r}; choose one of: {', '.join(kinds)}")
    groups = [[row for row in zoo.rows() if row.kind == group and (everything or not row.untrained)]
              for group in ((kind,) if kind else kinds)]  # fmt: skip
    if as_json:
        print_json([_row_json(row) for group in groups for row in group])
        return
    console = plain_console()
    columns = [name for name in COLUMNS if console.width >= WIDE or name not in ("kind", "licence")]
    table = make_table(*columns)
    table.columns[0].no_wrap = True
    for group in groups:
        for row in group:
            table.add_row(*(COLUMNS[name](row) for name in columns))
        table.add_section()
    console.print(table)
    hidden = 0 if everything else sum(row.untrained and kind in (None, row.kind) for row in zoo.rows())
    if hidden:
        console.print(f"{hidden} views named NAME-untrained, the same networks before training: show them with --all")


def show_model(name: str, images: int, steps: int, guided: bool, as_json: bool = False) -> None:
    """One row in words, and what `images` pictures of it cost.

    Raises:
        UsageError: No such row, or a count below one.
    """
    row = zoo.get(name)
    if images < 1 or steps < 1:
        raise UsageError("cost is counted for at least one image and one step")
    if as_json:
        cost = cost_of(row, images, steps, guided)
        print_json({**_row_json(row), "images": images, "steps": steps, "forwards": cost.forwards,
                    "cost_gflops": cost.gflops, "h100_hours": cost.h100_hours, "bytes": cost.bytes})  # fmt: skip
        return
    plain_console().print(facts_table([*_facts(row), *_costs(row, images, steps, guided)]))


def _row_json(row: zoo.View) -> dict[str, Any]:
    return {**asdict(row), "size": row.size, "dtype": row.dtype}


def show_described(family_and_folder: str) -> None:
    """A model's row as YAML, ready for a recipe's `rows:`.

    Raises:
        UsageError: Not of the form FAMILY:FOLDER_OR_HUB_ID, or the model is not of that family.
    """
    family, colon, folder = family_and_folder.partition(":")
    if not (family and colon and folder):
        raise UsageError(
            f"--describe takes FAMILY:FOLDER_OR_HUB_ID, as in diffusers:./my-model, not {family_and_folder!r}"
        )
    print(row_yaml(describe(family, folder)), end="")


def _facts(row: zoo.View) -> Iterator[tuple[str, str]]:
    """What a row says, in words."""
    yield row.name, row.about
    yield "kind", f"{MEANING[row.kind]} ({row.family})"
    if row.repo:
        yield "weights", f"{row.repo} {_revision(row)}".rstrip()
        yield "format", ".bin pickles, read through weights_only" if row.pickled else "safetensors"
        yield "licence", row.license
        yield "access", _access(row)
    yield "picture", f"{row.resolution} x {row.resolution} px"
    yield "row", f"{_shape(row)} {row.dtype}, {row.size:,} numbers"
    if row.clip_conditioned is not None:
        yield "conditioned on CLIP", CLIP[row.clip_conditioned]
    if row.autoencoder is not None:
        yield "autoencoder", f"view {row.autoencoder}, {row.autoencoder_gflops:,g} GFLOP an image"
    if row.baseline is not None:
        yield "before training", f"view {row.baseline}"
    if row.untrained:
        yield "start", "weights of its own" if row.init_seed is None else f"random, from seed {row.init_seed}"
    yield "work", f"{row.gflops:,g} GFLOP a forward of one image" if row.gflops else "no network"


def _costs(row: zoo.View, images: int, steps: int, guided: bool) -> Iterator[tuple[str, str]]:
    """What `images` pictures cost, in words."""
    cost = cost_of(row, images, steps, guided)
    inverted = f" x {steps} steps" if row.family == "diffusers" else ""
    yield (
        f"{images:,} images{inverted}",
        f"{cost.forwards:,.0f} forwards{' (guided: two a step)' if guided and inverted else ''}",
    )
    if cost.gflops:
        yield "", f"{rounded(cost.gflops / 1e6)} PFLOP"
        yield "", f"{rounded(cost.h100_hours, 2)} hours of one H100, at 40 % of its bf16 peak"
    yield "", f"{size_text(cost.bytes)} of {row.dtype}, before compression"


def _revision(row: zoo.View) -> str:
    if row.repo.startswith("testbed:"):
        return "(ships with NoiseZoo)"
    return "" if row.folder is not None else f"at {row.revision or 'main, pinned by the build'}"


def _access(row: zoo.View) -> str:
    if not row.gated or row.folder is not None:
        return "open"
    from huggingface_hub import constants

    page = f"{constants.ENDPOINT}/{row.repo}"
    return f"gated: accept its licence at {page} and run `hf auth login`, or build with --folder {row.name}=PATH"


def _shape(row: zoo.View) -> str:
    return "x".join(str(side) for side in row.shape)
