"""`noisezoo recipes`: the bundled recipes, and one of them as YAML."""

from typing import Annotated

import typer
from rich.syntax import Syntax
from rich.table import Table

from noisezoo.builder.recipe import RECIPES, bundled, read_recipe
from noisezoo.commands import register_command
from noisezoo.commands.output import wide_console


@register_command("recipes", "Start")
def recipes(name: Annotated[str | None, typer.Argument(help="One recipe, as YAML to copy and change.")] = None) -> None:
    """List the bundled recipes, or print one.

    Example: noisezoo recipes faces > mine.yaml
    """
    console = wide_console()
    if name is None:
        table = Table("recipe", "source", "views")
        for each in bundled():
            recipe = read_recipe(each)
            table.add_row(each, recipe.source.name, ", ".join(recipe.views))
        console.print(table)
        return
    read_recipe(name)
    text = (RECIPES / f"{name}.yaml").read_text()
    if console.is_terminal:
        console.print(Syntax(text, "yaml"))
    else:
        print(text, end="")
