"""`noisezoo models` and `noisezoo recipes`: what there is to choose from."""

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from noisezoo import zoo
from noisezoo.builder.recipe import RECIPES, bundled, read_recipe

CLIP = {None: "-", True: "yes", False: "no"}


def show_models(name: str | None) -> None:
    """The zoo as a table, or one row of it in full."""
    console = Console()
    if name is not None:
        row = zoo.get(name)
        table = Table(show_header=False)
        for field in row.__dataclass_fields__:
            table.add_row(field, str(getattr(row, field)))
        console.print(table)
        return
    table = Table("view", "kind", "shape", "px", "CLIP", "licence", "what")
    for row in zoo.rows():
        shape = "x".join(str(side) for side in row.shape)
        clip = CLIP[row.clip_conditioned]
        table.add_row(row.name, row.kind, shape, str(row.resolution), clip, row.license, row.about)
    console.print(table)


def show_recipes(name: str | None) -> None:
    """Names of the bundled recipes, or the YAML of one."""
    console = Console()
    if name is None:
        table = Table("recipe", "source", "views")
        for each in bundled():
            recipe = read_recipe(each)
            table.add_row(each, recipe.source.name, ", ".join(recipe.views))
        console.print(table)
        return
    read_recipe(name)
    text = (RECIPES / f"{name}.yaml").read_text()
    console.print(Syntax(text, "yaml") if console.is_terminal else text, soft_wrap=True)
