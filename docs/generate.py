"""A hook of MkDocs: pages that are made from the code, so that they cannot differ from it."""

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DOORS = {
    "noisezoo": "Load a dataset, pair its views, and look models up.",
    "noisezoo.builder": "From images to a published dataset.",
    "noisezoo.analysis": "Every study as a function on plain arrays.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"recipe.md": recipe_page(), "tutorials.md": tutorials_page()}
    pages |= {f"api/{door.rpartition('.')[2]}.md": api_page(door, about) for door, about in DOORS.items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def recipe_page() -> str:
    """Every field of a recipe: type or choices, default, meaning."""
    from noisezoo.builder.recipe import CorrelationSpec, Recipe, Settings, SourceSpec
    from noisezoo.zoo import View

    text = (ROOT / "docs" / "recipe.md.in").read_text()
    tables = {"recipe": Recipe, "source": SourceSpec, "settings": Settings, "correlation": CorrelationSpec}
    for name, model in tables.items():
        text = text.replace(f"{{{{ {name} }}}}", _table(model))
    rows = "\n".join(f"| `{name}` | {about} |" for name, about in _attributes(View))
    return text.replace("{{ rows }}", f"| field | meaning |\n|---|---|\n{rows}")


def _table(model: type[BaseModel]) -> str:
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        kind = str(getattr(field.annotation, "__name__", field.annotation))
        kind = kind if field.annotation is not None and "[" not in str(field.annotation) else str(field.annotation)
        for prefix in ("typing.", "noisezoo.zoo.", "noisezoo.builder.recipe."):
            kind = kind.replace(prefix, "")
        shown = "required" if field.is_required() else f"`{_default(field)}`"
        kind = kind.replace(" | ", " or ")
        lines.append(f"| `{name}` | `{kind}` | {shown} | {field.description} |")
    return "\n".join(lines)


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    return "its own defaults" if value is PydanticUndefined or isinstance(value, BaseModel) else repr(value)


def _attributes(kind: type) -> Iterator[tuple[str, str]]:
    """The attributes that a class's docstring lists."""
    _, _, listed = (kind.__doc__ or "").partition("Attributes:\n")
    name, about = "", ""
    for line in listed.splitlines():
        if line.startswith(" " * 8) and not line.startswith(" " * 9):
            if name:
                yield name, about
            name, _, about = line.strip().partition(": ")
        elif line.strip():
            about += " " + line.strip()
    yield name, about


def tutorials_page() -> str:
    """Each tutorial: its words, then its code."""
    parts = ["# Tutorials", "Scripts to run and to change; the tests run each of them on a few images."]
    for path in sorted((ROOT / "docs" / "tutorials").glob("*.py")):
        tree = ast.parse(path.read_text())
        title, _, words = (ast.get_docstring(tree) or "").partition("\n")
        code = "\n".join(path.read_text().splitlines()[tree.body[0].end_lineno :]).strip()
        parts.append(f"## {title}\n{words}\n\nThe script: `docs/tutorials/{path.name}`.\n\n```python\n{code}\n```")
    return "\n\n".join(parts)


def api_page(door: str, about: str) -> str:
    """Every public name of a door, from its docstring."""
    names = public_names(door)
    return f"# `{door}`\n\n{about}\n\n" + "\n\n".join(f"::: {names[name]}" for name in sorted(names, key=str.lower))


def public_names(door: str) -> dict[str, str]:
    """Name -> the module and name where it is defined."""
    return {name: _origin(door, name) for name in import_module(door).__all__ if not name.startswith("__")}


def _origin(door: str, name: str) -> str:
    module = import_module(door)
    if exports := getattr(module, "_exports", None):
        return _origin(*exports[name])
    value = getattr(module, name)
    if isinstance(value, type(sys)):
        return value.__name__
    return f"{getattr(value, '__module__', module.__name__)}.{name}" if callable(value) else f"{door}.{name}"
