"""`noisezoo recipes`: the bundled recipes, and one of them as YAML."""

from typing import Annotated

import typer

from noisezoo.builder.recipe import RECIPES, bundled, read_recipe
from noisezoo.commands import register_command
from noisezoo.commands.output import make_table, plain_console


@register_command("recipes", "Start")
def recipes(name: Annotated[str | None, typer.Argument(help="One recipe, as YAML to copy and change.")] = None) -> None:
    """List the bundled recipes, or print one.

    Example: noisezoo recipes faces > mine.yaml
    """
    if name is not None:
        read_recipe(name)
        print((RECIPES / f"{name}.yaml").read_text(), end="")
        return
    table = make_table("recipe", "source", "views")
    for each in bundled():
        recipe = read_recipe(each)
        table.add_row(each, recipe.source.name, ", ".join(recipe.views))
    plain_console().print(table)
