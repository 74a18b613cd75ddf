"""Card and Croissant, regenerated from the record and the files, and where those of a dataset differ from them."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from noisezoo.builder.dataset import card_text, croissant
from noisezoo.files import json_text
from noisezoo.record import CARD, CROISSANT, Record


def regenerate(root: Path, record: Record, card: str) -> dict[str, str]:
    """The card and the Croissant that the record and the files give, under the name that `card` gives the dataset.

    Both name the folder that they were written in; a download lies in a folder of another name.
    """
    named = re.search(r'load_dataset\("([^"/]+)"\)', card)
    name = named[1] if named else root.name
    others = record.with_files({path: file for path, file in record.files.items() if path != CROISSANT})
    return {CARD: card_text(root, record, name), CROISSANT: json_text(croissant(root, others, name))}


def _front_matter(text: str) -> Any:
    from huggingface_hub import DatasetCard

    return vars(DatasetCard(text).data)


DERIVED: Mapping[str, Callable[[str], Any]] = {CARD: _front_matter, CROISSANT: json.loads}
"""File that follows from the record and the others -> reader of the fields in it that programs use."""


def field_that_differs(fields: Callable[[str], Any], text: str, wanted: str) -> str | None:
    """The first field that differs, in words; None where it is text alone that differs."""
    try:
        found = dict(_leaves(fields(text), ""))
    except Exception as error:  # of the two parsers
        return f"its fields cannot be read ({type(error).__name__})"
    given = dict(_leaves(fields(wanted), ""))
    for path in {**given, **found}:
        a, b = found.get(path, "nothing"), given.get(path, "nothing")
        if a != b:
            return f"{path.lstrip('.')} is {_short(a)} where the files give {_short(b)}"
    return None


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf in a tree of dictionaries and lists; a path shows the names of a list's entries."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for i, inner in enumerate(value):
            name = inner.get("config_name") or inner.get("name") if isinstance(inner, dict) else None
            yield from _leaves(inner, f"{path}[{i} {name}]" if name else f"{path}[{i}]")
    else:
        yield path, value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def line_that_differs(text: str, wanted: str) -> str:
    """The first line that differs."""
    a, b = text.splitlines(), wanted.splitlines()
    number = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    said, belongs = (_short(lines[number]) if number < len(lines) else "missing" for lines in (a, b))
    return f"line {number + 1} is {said} where {belongs} belongs"
