"""The house: rooms import in one direction, through doors, from the files of the checkout."""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
FLOORS = ("builder", "analysis")
SYNONYMS = ({"util", "utils", "helper", "helpers", "common", "misc"},)


@cache
def ranks() -> dict[tuple[str, str], int]:
    """(floor, room) -> its place in the line that CONTRIBUTING.md shows."""
    page = (HOUSE / "CONTRIBUTING.md").read_text()
    lines = re.findall(rf"^({'|'.join(FLOORS)}): +(.+)$", page, re.MULTILINE)
    return {
        (floor, room): rank
        for floor, line in lines for rank, rooms in enumerate(line.split("<")) for room in re.findall(r"\w+", rooms)
    }  # fmt: skip


def modules() -> Iterator[tuple[Path, tuple[str, str]]]:
    """Every file of a floor, with its room."""
    for floor in FLOORS:
        for path in sorted((HOUSE / floor).rglob("*.py")):
            room = path.relative_to(HOUSE / floor).with_suffix("").parts[0]
            if room != "__init__":
                yield path, (floor, room)


def typed_only(tree: ast.Module) -> set[ast.AST]:
    """Imports that no run makes: types alone may be named against the direction."""
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    return {inner for node in guarded for inner in ast.walk(node)}


def imports(path: Path) -> Iterator[tuple[tuple[str, str], str, bool]]:
    """(floor and room, module, whether for types alone) of each import of a room in a file."""
    tree = ast.parse(path.read_text())
    typed = typed_only(tree)
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "noisezoo" and len(parts) > 2 and parts[1] in FLOORS:
                yield (parts[1], parts[2]), name, node in typed


def test_every_room_stands_in_the_line_that_contributing_shows() -> None:
    assert {room for _, room in modules()} == set(ranks())


def test_rooms_import_only_rooms_before_them() -> None:
    against = [
        f"{path.relative_to(HOUSE)} imports {name}"
        for path, room in modules() for other, name, typed in imports(path)
        if other != room and not typed and (other[0] != room[0] or ranks()[other] >= ranks()[room])
    ]  # fmt: skip
    assert not against, "\n".join(against)


def test_no_room_is_imported_past_its_door() -> None:
    outside = [(path, ("", "")) for path in (HOUSE / "noisezoo").rglob("*.py") if not set(FLOORS) & set(path.parts)]
    past = [
        f"{path.relative_to(HOUSE)} imports {name}"
        for path, room in [*modules(), *outside] for other, name, _ in imports(path)
        if other != room and name.count(".") > 2
    ]  # fmt: skip
    assert not past, "\n".join(past)


def test_a_relative_import_stays_in_its_folder() -> None:
    """So that a dot always means the same room, and every import of another room is seen by the tests above."""
    every = [(path, node) for path, _ in modules() for node in ast.walk(ast.parse(path.read_text()))]
    assert not [f"{path}: {node.module}" for path, node in every if isinstance(node, ast.ImportFrom) and node.level > 1]


def test_the_library_does_not_import_the_floors_but_at_the_command_line() -> None:
    library = [path for path in (HOUSE / "noisezoo").glob("*.py") if path.name != "cli.py"]
    assert not [f"{path.name}: {name}" for path in library for _, name, _ in imports(path)]


def test_no_module_hides_behind_an_underscore_or_says_nothing() -> None:
    stems = [path.stem for floor in ("noisezoo", *FLOORS) for path in (HOUSE / floor).rglob("*.py")]
    assert not [stem for stem in stems if stem.startswith("_") and not stem.startswith("__")]
    assert not [stem for stem in stems for synonyms in SYNONYMS if stem in synonyms]


def test_no_two_files_of_a_floor_differ_by_an_underscore_or_an_ending() -> None:
    for floor in FLOORS:
        seen: dict[str, Path] = {}
        for path in (HOUSE / floor).rglob("*.py"):
            bare = re.sub(r"(ing|ed|es|s)$", "", path.stem.replace("_", ""))
            if path.stem.startswith("__") or (bare in seen and seen[bare].stem == path.stem):
                continue
            assert bare not in seen, f"{path} and {seen[bare]}"
            seen[bare] = path


def test_files_stay_short() -> None:
    long = [
        f"{path}: {count} lines"
        for floor in ("noisezoo", *FLOORS) for path in (HOUSE / floor).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 500
    ]  # fmt: skip
    assert not long, "\n".join(long)


@pytest.mark.parametrize("floor", FLOORS)
def test_an_import_from_the_checkout_takes_the_checkouts_file_beside_an_installed_copy(
    floor: str, tmp_path: Path
) -> None:
    installed = tmp_path / "site" / "noisezoo" / floor
    installed.mkdir(parents=True)
    for package in (installed.parent, installed):
        (package / "__init__.py").write_text("raise ImportError('the installed copy')")
    code = f"import sys; sys.path.append({str(tmp_path / 'site')!r}); import noisezoo.{floor} as it; print(it.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).resolve() == (HOUSE / floor / "__init__.py").resolve()


def test_the_wheel_holds_every_package_template_and_table(tmp_path: Path) -> None:
    """Built as pip builds it, from a copy of what git tracks, so that no build folder of ours is in it."""
    copy = tmp_path / "copy"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (HOUSE / name).is_symlink():
            target.symlink_to((HOUSE / name).readlink())
        elif (HOUSE / name).exists():
            target.write_bytes((HOUSE / name).read_bytes())
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    wanted = {
        (Path("noisezoo") / path.relative_to(HOUSE) if floor != "noisezoo" else path.relative_to(HOUSE)).as_posix()
        for floor in ("noisezoo", *FLOORS) for path in (HOUSE / floor).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }  # fmt: skip
    assert not wanted - held, sorted(wanted - held)
    assert not [name for name in held if name.startswith(("builder/", "analysis/", "tests/"))]


def test_the_doors_give_functions_and_classes_and_list_them() -> None:
    """A file may bear the name of its function; the door gives the function, whichever was imported first."""
    code = """
import importlib, noisezoo.builder as builder, noisezoo.analysis as analysis
for door in (builder, analysis):
    for name in dir(door):
        value = getattr(door, name)
        module = getattr(value, "__module__", None)
        if module: importlib.import_module(module)
        assert not isinstance(value, type(importlib)), name
        assert getattr(door, name) is value, name
from noisezoo.builder import (
    Inverter, Encoder, build_dataset, read_recipe, plan, verify, publish, remove, join, status, open_source, SCHEMES
)
"""
    subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True)
