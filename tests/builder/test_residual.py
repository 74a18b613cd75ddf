"""A residual is x_T - a z0 of the stored rows, costs no computation, and follows every change of its dataset."""

from pathlib import Path

import numpy as np
import pytest

import noisezoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.dataset.finish import is_finished
from noisezoo.builder.dataset.remove import remove
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.engine.worker import _Group
from noisezoo.builder.recipe import Recipe
from noisezoo.record import record_of
from tests.builder.building import parts, published, recipe_of

LATENT = ("faces-ldm-uncond", "faces-vae")
PIXELS = ("digits-ddpm", "pixels-8")


def made(views: tuple[str, ...], source: str = "faces") -> Recipe:
    return recipe_of(source, views, limit=24, pca_dims=40)


def is_right(out: Path, noise: str, image: str) -> bool:
    """By numpy, from the published rows and the record's a."""
    rows = noisezoo.load(out, views=[noise, image, f"{noise}-residual"])
    x, z, rest = (noisezoo.matrix(rows, view) for view in (noise, image, f"{noise}-residual"))
    (section,) = record_of(out).sections
    a = section.facts[f"{noise}-residual"]["x_T_a"]
    assert a == section.facts[noise]["x_T_a"] > 0
    return bool((rest == (x - np.float32(a) * z).astype(np.float16)).all() and np.abs(rest - x).max() > 1e-3)


@pytest.mark.parametrize(("views", "source"), [(LATENT, "faces"), (PIXELS, "digits")])
def test_a_residual_is_made_of_the_stored_rows_and_comes_out_of_recomputation(
    views: tuple[str, ...], source: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(made((*views, f"{views[0]}-residual"), source), out)
    assert is_right(out, *views)
    report = verify(out, recompute=6)
    found = {each.config: each for each in report.recomputed}[f"{views[0]}-residual"]
    assert report.ok and found.rows == 6 and found.worst <= found.tolerance


def test_a_residual_that_is_added_later_computes_no_unit_and_changes_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run(made(LATENT), out)
    before, units = published(out), parts(open_build(out))
    monkeypatch.setattr(_Group, "work", lambda *_: pytest.fail("a model was run"))
    assert run(made((*LATENT, f"{LATENT[0]}-residual")), out)
    after = published(out)
    assert parts(open_build(out)) == units and is_finished(open_build(out))
    changed = {path for path in before if before[path] != after[path]}
    assert all(path.startswith("paired/") or "/" not in path for path in changed)
    assert is_right(out, *LATENT) and verify(out).ok


def test_a_residual_follows_a_removal(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(made((*LATENT, f"{LATENT[0]}-residual")), out)
    gone = noisezoo.load(out, views=[])["image_id"][3]
    remove(out, [gone])
    assert gone not in noisezoo.load(out, views=[f"{LATENT[0]}-residual"])["image_id"][:]
    assert is_right(out, *LATENT) and verify(out).ok
