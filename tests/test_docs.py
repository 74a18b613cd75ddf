"""What the pages that are made from the code hold; `make docs` makes them, with warnings as errors."""

import dataclasses
import importlib.util
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from noisezoo.builder.recipe import CorrelationSpec, Recipe, Settings, SourceSpec
from noisezoo.zoo import View

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("model", [Recipe, SourceSpec, Settings, CorrelationSpec])
def test_the_recipe_page_has_a_row_with_a_meaning_for_every_field(model: type[BaseModel], generate: ModuleType) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", generate.recipe_page(), re.MULTILINE))
    for name, field in model.model_fields.items():
        assert field.description, name
        assert name in rows and "None" not in rows[name], name


def test_the_recipe_page_explains_every_field_of_a_row_of_the_zoo(generate: ModuleType) -> None:
    explained = dict(generate._attributes(View))
    assert {field.name for field in dataclasses.fields(View)} == set(explained)
    assert all(explained.values())


@pytest.mark.parametrize("door", ["noisezoo", "noisezoo.builder", "noisezoo.analysis"])
def test_the_api_pages_show_every_public_name_and_each_has_a_docstring(door: str, generate: ModuleType) -> None:
    module, page = import_module(door), generate.api_page(door, "")
    for name in (name for name in module.__all__ if not name.startswith("__")):
        assert re.search(rf"^::: noisezoo\..*\b{name}$", page, re.MULTILINE), name
        value = getattr(module, name)
        assert not callable(value) or inspect.getdoc(value), name
