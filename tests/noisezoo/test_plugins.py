"""A user's own package is a plug-in: what it registers is found in this process and in a builder's."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from noisezoo import zoo
from noisezoo.errors import UsageError
from noisezoo.plugins import load_plugins
from tests.fresh import Fresh

ROW = """
from dataclasses import replace
from noisezoo import zoo

zoo.register(replace(zoo.get("random-64"), name="my-noise", about="of a user's own package"))
"""
BUILD = """
from pathlib import Path
from noisezoo.builder.__main__ import run
from tests.builder.building import recipe_of

assert run(recipe_of("digits", ("my-noise",), 6), Path("out"))
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which packages lie as an installer leaves them; one of them adds a row to the zoo."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    install(site, "users_own_noise", ROW)
    load_plugins.cache_clear()
    yield site
    load_plugins.cache_clear()
    for name in [name for name in sys.modules if name.startswith("users_own_")]:
        del sys.modules[name]


def install(site: Path, package: str, code: str) -> None:
    (site / package).mkdir()
    (site / package / "__init__.py").write_text("")
    (site / package / "for_noisezoo.py").write_text(code)
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    entry = f"[noisezoo.plugins]\n{package} = {package}.for_noisezoo\n"
    (metadata / "entry_points.txt").write_text(entry)


def test_a_row_of_a_user_s_package_is_found_by_name_and_in_the_table(installed: Path) -> None:
    assert zoo.get("my-noise").about == "of a user's own package"
    assert "my-noise" in zoo.table().index
    assert "users_own_noise" in load_plugins()


def test_a_builder_s_process_builds_the_view_of_a_user_s_package(installed: Path, tmp_path: Path) -> None:
    import noisezoo

    path = os.pathsep.join([str(installed), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    build = Fresh(BUILD, environment=environment, folder=tmp_path)
    _, said = build.communicate()
    assert build.poll() == 0, said
    assert noisezoo.matrix(noisezoo.load(tmp_path / "out", views=["my-noise"]), "my-noise").shape == (6, 64)


def test_a_plug_in_that_fails_to_import_is_one_line_that_names_it(installed: Path) -> None:
    install(installed, "users_own_broken", "raise RuntimeError('first line\\nsecond line')")
    with pytest.raises(UsageError, match=r"plug-in 'users_own_broken'.*RuntimeError: first line") as caught:
        zoo.get("random-64")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="users_own_broken"):
        zoo.get("random-64")
