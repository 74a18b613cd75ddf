"""Views that work on one slice together read and encode each picture once, and no byte tells that they did."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisezoo import zoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.engine.build import open_build, prepare
from noisezoo.builder.recipe import Recipe
from noisezoo.builder.sources.faces import Faces
from noisezoo.builder.views.networks import LatentComputer
from tests.builder.building import parts, published, recipe_of

LATENT_VIEWS = ("faces-vae", "faces-ldm-uncond", "faces-ldm-uncond-untrained", "pixels")


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces through a latent model, its untrained twin and its autoencoder, built together."""
    folder = tmp_path_factory.mktemp("latent") / "noisezoo"
    assert run(latent_recipe(), folder)
    return folder


def latent_recipe(views: tuple[str, ...] = LATENT_VIEWS) -> Recipe:
    return recipe_of("faces", views, limit=20, pca_dims=8)


def test_views_that_share_an_encoding_encode_each_picture_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    original = LatentComputer.encode

    def counted(self: LatentComputer, inputs: np.ndarray) -> np.ndarray:
        encoded.append(len(inputs))
        return original(self, inputs)

    monkeypatch.setattr(LatentComputer, "encode", counted)
    assert run(latent_recipe(), tmp_path / "noisezoo")
    assert sum(encoded) == 20


def test_a_picture_is_decoded_once_for_all_views_that_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    original = Faces.images

    def counted(self: Faces, keys: list[str], *hashes: Any) -> Any:
        decoded.extend(keys)
        return original(self, keys, *hashes)

    recipe = recipe_of("faces", ("pixels", "faces-clip", "faces-ssl", "random"), limit=20, pca_dims=8)
    prepare(recipe, tmp_path / "noisezoo")  # where the manifest's hashes need them too
    monkeypatch.setattr(Faces, "images", counted)
    assert run(recipe, tmp_path / "noisezoo")
    assert sorted(decoded) == sorted(open_build(tmp_path / "noisezoo").manifest.keys)


def test_views_built_one_by_one_are_to_the_byte_what_they_are_together(latent: Path, tmp_path: Path) -> None:
    for k in range(len(LATENT_VIEWS)):
        assert run(latent_recipe(LATENT_VIEWS[: k + 1]), tmp_path / "noisezoo")
    assert published(tmp_path / "noisezoo") == published(latent)


def test_a_lost_unit_is_computed_again_to_the_byte_without_what_its_siblings_shared(
    latent: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "noisezoo"
    shutil.copytree(latent, copy)
    lost = open_build(copy).units(zoo.get("faces-ldm-uncond-untrained"))[1]
    before = parts(open_build(copy))
    lost.marker_path.unlink()
    assert run(latent_recipe(), copy)
    after = parts(open_build(copy))
    assert {path for path in before if before[path][1] != after[path][1]} == {lost.part}
    assert published(copy) == published(latent)


def test_a_unit_s_log_line_and_marker_say_where_the_time_went_and_how_large_batches_were(latent: Path) -> None:
    lines = [json.loads(line) for log in (latent / "_build" / "logs").glob("*.jsonl") for line in log.open()]
    units = [line for line in lines if line["event"] == "unit"]
    assert {line["view"] for line in units} == set(LATENT_VIEWS)
    for line in units:
        assert all(line[f"{stage}_seconds"] >= 0 for stage in ("read", "network", "write"))
        spent = sum(value for name, value in line.items() if name.endswith("_seconds"))
        assert spent <= line["seconds"] + 0.05
    unit = next(open_build(latent).all_units())
    marker = unit.marker()
    assert marker is not None and marker["batch_size"] == {"encode": 4, "network": 4}
