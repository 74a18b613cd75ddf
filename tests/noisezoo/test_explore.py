"""The explorer's page: its coordinates are the view's principal components, and a browser draws every image."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

import noisezoo
from noisezoo.builder.__main__ import run as build
from noisezoo.commands.explore import explored
from noisezoo.errors import UsageError
from tests.builder.building import recipe_of
from tests.noisezoo.test_cli import run

MonkeyPatch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explored") / "faces"
    assert build(recipe_of("faces", ("pixels", "random"), 24), folder)
    return folder


def test_coordinates_are_the_first_two_principal_components_and_columns_are_the_labels(faces: Path) -> None:
    found, rows = explored(str(faces)), noisezoo.load(faces)
    assert found["ids"] == list(rows["image_id"])
    for view in ("pixels", "random"):
        wanted = PCA(2, svd_solver="full").fit_transform(noisezoo.matrix(rows, view).astype(np.float64))
        for ours, theirs in zip(np.array(found["views"][view]), wanted.T, strict=True):
            assert abs(np.corrcoef(ours, theirs)[0, 1]) == pytest.approx(1, abs=1e-6)
            assert np.std(ours) == pytest.approx(np.std(theirs), rel=1e-3)
    assert found["columns"]["Smiling"] == [str(value) for value in rows["Smiling"]]


def test_a_seed_draws_the_same_images_and_thumbnails_are_their_pictures(faces: Path) -> None:
    import base64

    found = explored(str(faces), limit=10)
    assert len(found["ids"]) == 10 and found == explored(str(faces), limit=10)
    assert found["ids"] != explored(str(faces), limit=10, seed=1)["ids"]
    rows = noisezoo.load(faces, views=["pixels"])
    of = dict(zip(rows["image_id"], noisezoo.matrix(rows, "pixels"), strict=True))
    for name, text in zip(found["ids"], found["thumbnails"]["bytes"], strict=True):
        shown = np.frombuffer(base64.b64decode(text), np.uint8) / 127.5 - 1
        assert np.abs(shown - of[name]).max() < 0.005


def test_a_dataset_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        explored(str(tmp_path / "none"))


def test_a_browser_draws_every_image_of_the_exported_space(
    faces: Path, tmp_path: Path, monkeypatch: MonkeyPatch, capsys: Capture
) -> None:
    assert run(monkeypatch, "explore", str(faces), "--export", str(tmp_path / "site")) == 0
    assert "sdk: static" in (tmp_path / "site" / "README.md").read_text()
    assert not re.search(r"(src|href)=|https?://", (tmp_path / "site" / "index.html").read_text())
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    page = subprocess.run([*command, str(tmp_path / "site" / "index.html")], capture_output=True, text=True, check=True)
    assert 'data-drawn="24"' in page.stdout and '<span id="count">24</span>' in page.stdout
    first = explored(str(faces))["ids"][0]
    assert f"{first}." in page.stdout and "Smiling: " in page.stdout
