"""A plain install loads, lists and watches; what it lacks is one line that names the extra."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from noisezoo.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
PLAIN = """
import sys
from importlib.machinery import PathFinder

class Plain:
    \"\"\"What Python finds where the extras are not installed.\"\"\"
    find_distributions = PathFinder.find_distributions

    def find_spec(name, path=None, target=None):
        return None if name in EXTRAS else PathFinder.find_spec(name, path, target)

EXTRAS = {extras!r}
sys.meta_path[sys.meta_path.index(PathFinder)] = Plain
"""


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run code in an environment without the extras."""
    plain = PLAIN.replace("{extras!r}", repr(set(EXTRAS)))
    command = [sys.executable, "-c", plain + code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_plain_install_loads_pairs_lists_and_watches(built: Path) -> None:
    code = """
import noisezoo
from noisezoo import cli

folder = sys.argv[1]
rows = noisezoo.load(folder, views=["pixels-8"])
assert noisezoo.matrix(rows, "pixels-8").shape == (40, 64)
assert noisezoo.load(folder)["image_id"] == rows["image_id"]
assert len(noisezoo.zoo.table()) == len(noisezoo.zoo.ROWS)
for words in (["models", "sd15"], ["recipes"], ["status", folder], ["build", "--help"], ["analyze", "--help"]):
    sys.argv = ["noisezoo", *words]
    try:
        cli.main()
    except SystemExit as stop:
        assert not stop.code, words
"""
    done = python(code, str(built))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("build digits --out {out}", "build"),
        ("plan digits", "build"),
        ("analyze {built} --out {out}", "analysis"),
        ("explore {built} --export {out} --atlas", "explore"),
        ("explore {built} --export {out} --projection umap", "explore"),
    ],
)
def test_what_a_plain_install_lacks_is_one_line_that_installs_it(
    words: str, extra: str, built: Path, tmp_path: Path
) -> None:
    given = words.format(out=tmp_path / "out", built=built).split()
    done = python("from noisezoo.cli import main\nmain()", *given)
    assert done.returncode == 1
    found = re.fullmatch(r"error: this needs `pip install 'noisezoo\[(\w+)\]'` \(\w+ is not installed\)\n", done.stderr)
    assert found is not None and found[1] == extra, done.stderr


def test_others_imports_of_what_is_missing_are_left_alone() -> None:
    code = """
import noisezoo
from importlib.util import find_spec
assert find_spec("torch") is None
try:
    import torch
except ModuleNotFoundError as error:
    assert "noisezoo" not in str(error)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_every_extra_that_is_named_brings_the_library_and_the_plain_install_does_not() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = lambda lines: {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for line in lines}  # noqa: E731
    for library, extra in EXTRAS.items():
        packages = {name.lower().replace("_", "-") for name in packages_distributions().get(library, ())}
        packages = packages or {library.replace("_", "-"), f"{library}-learn"}  # of what is not installed here
        brought = names(project["optional-dependencies"][extra])
        assert packages & brought or library == "torchvision", library
        assert not packages & names(project["dependencies"]), library


def test_loading_analysing_and_status_are_imported_where_there_is_no_sigusr1() -> None:
    code = """
import signal
del signal.SIGUSR1
import noisezoo, noisezoo.analysis, noisezoo.cli, noisezoo.builder.engine
noisezoo.cli.make_app()
for name in dir(noisezoo.analysis):
    getattr(noisezoo.analysis, name)
assert noisezoo.builder.engine.PREEMPTION_SIGNALS.keys() == {signal.SIGTERM}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
