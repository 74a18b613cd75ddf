"""Options that several commands share, and how their texts become the fields of a recipe."""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from noisezoo.builder.recipe import Recipe, read_recipe
from noisezoo.errors import UsageError

Out = Annotated[
    Path, typer.Option("--out", help="The dataset's folder, or s3://BUCKET/PATH; run again with the same one to go on.")
]
Mixed = Annotated[bool, typer.Option("--mixed", help="Let differing software and devices work on one build.")]
Revision = Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit on the Hub.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON value, for scripts.")]
SourceOptions = Annotated[
    list[str] | None,
    typer.Option("--option", help="An option of the source, as in --option image=photo; may be repeated."),
]
Pictures = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="Which source, in a dataset of several; and where the pictures of a dataset without `pixels` are, as in "
        "--source celeba:PATH.",
    ),
]
Folders = Annotated[
    list[str] | None, typer.Option("--folder", help="A local model, as in --folder sd15=PATH; may be repeated.")
]


def chosen_recipe(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe (see `noisezoo recipes`) or a .yaml file.")],
    source: Annotated[
        str | None,
        typer.Option(
            help="faces, digits, celeba, celeba:PATH, afhq, afhqv2, hf:REPO or imagefolder:PATH, instead of the "
            "recipe's."
        ),
    ] = None,
    source_options: SourceOptions = None,
    split: Annotated[str | None, typer.Option(help="Only this split of the source's own, or all.")] = None,
    views: Annotated[str | None, typer.Option(help="Views, separated by commas, instead of the recipe's.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most this many images, chosen by hash; a larger one goes on with the build.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as in --set num_inference_steps=20; may be repeated.")
    ] = None,
    folders: Folders = None,
) -> Recipe:
    """The recipe by that name or path, changed as the options say.

    Raises:
        UsageError: No such recipe, a `--set` or `--option` that is not KEY=VALUE, a `--folder` that is not NAME=PATH,
            or a recipe that does not validate.
    """
    images: dict[str, Any] = {}
    if source is not None:  # another source starts without the recipe's limit, split and options
        images |= {"name": source, "limit": None, "split": None, "options": {}}
    if split is not None:
        images["split"] = None if split == "all" else split
    if source_options:
        images["options"] = read_source_options(source_options)
    if limit is not None:
        images["limit"] = limit
    fields: dict[str, Any] = {"source": images, "settings": read_settings(settings)}
    if views is not None:
        fields["views"] = split_names(views)
        if not fields["views"]:
            raise UsageError("--views names no view: write them separated by commas, as in --views pixels,random")
    if folders:
        fields["folders"] = read_folders(folders)
    return read_recipe(recipe, fields)


def with_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Put the parameters of `chosen_recipe` in the place of a command's first one, which gets the recipe they make."""
    shared = signature(chosen_recipe).parameters
    own = list(signature(command).parameters.values())[1:]

    @wraps(command)
    def run(**given: Any) -> None:
        recipe = chosen_recipe(**{name: given.pop(name) for name in shared})
        command(recipe, **given)

    merged = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in (*shared.values(), *own)]
    run.__signature__ = Signature(merged)  # type: ignore[attr-defined]
    return run


def read_settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """The settings of `--set KEY=VALUE`, the values read as YAML."""
    return _read_values(texts or (), "--set", "num_inference_steps=20")


def read_source_options(texts: Sequence[str] | None) -> dict[str, Any]:
    """The options of `--option KEY=VALUE`, the values read as YAML."""
    return _read_values(texts or (), "--option", "image=photo")


def _read_values(texts: Sequence[str], option: str, example: str) -> dict[str, Any]:
    values = {}
    for text in texts:
        key, value = split_pair(text, option, "KEY=VALUE", example)
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            fault = str(getattr(error, "problem", None) or error).splitlines()[0]
            raise UsageError(
                f"{option} {text}: the value is not YAML ({fault}); put quotes around text: '\"...\"'"
            ) from error
    return values


def read_folders(texts: Sequence[str] | None) -> dict[str, str]:
    """The local models of `--folder NAME=PATH`: view -> path."""
    return dict(split_pair(text, "--folder", "NAME=PATH", "sd15=models/sd15") for text in texts or ())


def split_pair(text: str, option: str, form: str, example: str) -> tuple[str, str]:
    """The two sides of an option's `=`."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{option} {text}: write it as {form}, as in {option} {example}")
    return key, value


def split_names(text: str | None) -> list[str]:
    """`a,b` as a list; none for no text."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
