"""A user's own family of views: one class, registered by a package outside the tree, is built like ours."""

import json
import os
from pathlib import Path

import pytest

import noisezoo
from noisezoo.builder.views import families
from noisezoo.builder.views.families import register_family
from noisezoo.errors import UsageError
from tests.fresh import Fresh, module

PLUGIN = """
from noisezoo import zoo
from noisezoo.builder.views import register_family

register_family("edges", "users_own_views.edges:EdgeComputer")
zoo.register(zoo.View("my-edges", "control", "edges", "", 8, (1, 8, 8), "none", 0.0, "a user's own"))
"""

EDGES = '''
import numpy as np

from noisezoo.builder.views import Batch, Computer, Rows


class EdgeComputer(Computer):
    """Horizontal differences of the grey picture."""

    def prepare(self, image):
        grey = self.pixels(image).mean(axis=0, keepdims=True)
        return np.diff(grey, axis=2, prepend=grey[:, :, :1])

    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        return {self.view.name: values}
'''

RECIPE = """
name: edges
source: {name: digits, limit: 12}
views: [my-edges, pixels-8]
slice_rows: 8
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder in which a package with an entry point lies as an installer leaves it."""
    site = tmp_path / "site"
    (site / "users_own_views").mkdir(parents=True)
    (site / "users_own_views" / "__init__.py").write_text(PLUGIN)
    (site / "users_own_views" / "edges.py").write_text(EDGES)
    metadata = site / "users_own_views-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: users_own_views\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[noisezoo.plugins]\nviews = users_own_views\n")
    return site


def test_a_user_s_family_is_built_by_every_process_and_its_array_is_the_class_s(site: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    path = os.pathsep.join([str(site), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    build = Fresh(module("noisezoo.builder"), "recipe.yaml", "--out", "out", environment=environment, folder=tmp_path)
    _, said = build.communicate()
    assert build.poll() == 0, said
    dataset = noisezoo.load(tmp_path / "out", views=["my-edges", "pixels-8"])
    edges, pixels = noisezoo.matrix(dataset, "my-edges"), noisezoo.matrix(dataset, "pixels-8")
    assert edges.shape == (12, 64) and edges.any()
    grey = pixels.reshape(12, -1, 8, 8).mean(axis=1)
    expected = grey[:, :, 1:] - grey[:, :, :-1]
    assert abs(edges.reshape(12, 8, 8)[:, :, 1:] - expected).max() < 2e-3
    markers = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("parts/my-edges/*.json")]
    assert sum(marker["rows"] for marker in markers) == 12


def test_a_family_s_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "COMPUTERS", dict(families.COMPUTERS))
    register_family("mine", "mine.views:Mine")
    register_family("mine", "mine.views:Mine")
    with pytest.raises(UsageError, match=r"there is a family 'mine' already \(mine.views:Mine\)"):
        register_family("mine", "other.views:Mine")
