"""Card and Croissant, made again from the record and the files, and where those that lie there differ from them."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from noisezoo.builder.dataset import write_card, write_croissant
from noisezoo.builder.engine import STATE
from noisezoo.record import CARD, CROISSANT, Record


def made_again(root: Path, record: Record, card: str) -> dict[str, str]:
    """The card and the Croissant that the record and the files give, under the name that `card` gives the dataset.

    They say the name of the folder that they were made in, which a download has not. So they are made in a folder of
    that name, whose configs are links.
    """
    named = re.search(r'load_dataset\("([^"/]+)"\)', card)
    name = Path(named[1]).name if named else ""
    with TemporaryDirectory() as folder:
        mirror = Path(folder) / (name or root.name)
        mirror.mkdir()
        for path in root.iterdir():
            if path.is_dir() and not path.name.startswith((".", STATE)):
                (mirror / path.name).symlink_to(path.resolve(), target_is_directory=True)
        write_card(mirror, record)
        write_croissant(mirror, record.with_files({p: file for p, file in record.files.items() if p != CROISSANT}))
        return {name: (mirror / name).read_text() for name in DERIVED}


def _front_matter(text: str) -> Any:
    import yaml

    matter = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    return yaml.safe_load(matter[1]) if matter else None


DERIVED: Mapping[str, Callable[[str], Any]] = {CARD: _front_matter, CROISSANT: json.loads}
"""Files that are made from the record and the others -> the fields in them that programs read."""


def field_that_differs(fields: Callable[[str], Any], text: str, wanted: str) -> str | None:
    """The first field that differs, in words; None where only text does."""
    try:
        found = fields(text)
    except Exception as error:  # of the two parsers
        return f"its fields cannot be read ({type(error).__name__})"
    return _first(found, fields(wanted), "")


def _first(a: Any, b: Any, path: str) -> str | None:
    """Where two values of YAML first differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        parts = [(a.get(key), b.get(key), f"{path}.{key}") for key in dict.fromkeys((*b, *a))]
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        names = [(x.get("config_name") or x.get("name")) if isinstance(x, dict) else None for x in b]
        parts = [(x, y, f"{path}[{name or i}]") for i, (x, y, name) in enumerate(zip(a, b, names, strict=True))]
    else:
        return None if a == b else f"{path.lstrip('.')} is {_short(a)} where the files give {_short(b)}"
    return next((told for x, y, where in parts if (told := _first(x, y, where)) is not None), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def line_that_differs(text: str, wanted: str) -> str:
    """The first line that differs."""
    a, b = text.splitlines(), wanted.splitlines()
    number = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    said, belongs = (_short(lines[number]) if number < len(lines) else "missing" for lines in (a, b))
    return f"line {number + 1} is {said} where {belongs} belongs"
