"""The explorer's page: its coordinates are the view's principal components, and a browser draws every image."""

import io
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.decomposition import PCA

import noisezoo
from noisezoo.builder.__main__ import run as build
from noisezoo.commands.explore import PROJECTIONS, explored
from noisezoo.errors import UsageError
from tests.analysis.browser import chromium
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


@pytest.fixture
def atlas(monkeypatch: MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What Embedding Atlas was given to export, in place of its own."""
    given: dict[str, Any] = {}

    class DataSource:
        def __init__(self, identifier: str, dataset: Any, metadata: dict[str, Any]) -> None:
            given.update(dataset=dataset, **metadata)

        def export_to_folder(self, static_path: str, folder_path: str) -> None:
            given.update(static=static_path, folder=folder_path)

    modules = {
        "embedding_atlas": SimpleNamespace(__file__=str(tmp_path / "theirs" / "__init__.py")),
        "embedding_atlas.data_source": SimpleNamespace(DataSource=DataSource),
        "embedding_atlas.options": SimpleNamespace(make_embedding_atlas_props=dict),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return given


def test_embedding_atlas_is_given_our_coordinates_labels_quality_and_pictures(
    faces: Path, tmp_path: Path, monkeypatch: MonkeyPatch, atlas: dict[str, Any]
) -> None:
    site = tmp_path / "site"
    assert run(monkeypatch, "explore", str(faces), "--export", str(site), "--atlas") == 0
    found, table, props = explored(str(faces)), atlas["dataset"], atlas["props"]
    assert list(table["image_id"]) == found["ids"] and Path(atlas["folder"]) == site / "atlas"
    assert (table[props["x"]], table[props["y"]])[0].tolist() == next(iter(found["views"].values()))[0]
    charts = props["initial_state"]["charts"]
    for view in ("pixels", "random"):
        places = charts[view]["data"]
        assert [table[places[axis]].tolist() for axis in "xy"] == found["views"][view]
    assert charts["column Smiling"]["data"]["field"] == "Smiling" and "layers" in charts["column factor_turn"]
    tabs = props["initial_state"]["layouts"]
    assert list(tabs) == ["pixels", "random"] and {"random", "column Smiling"} < set(tabs["random"]["chartIds"])
    assert all(set(tab["chartIds"]) <= set(charts) for tab in tabs.values())
    pixels = noisezoo.matrix(noisezoo.load(faces, views=["pixels"]), "pixels").reshape(24, 3, 32, 32)
    shown = np.asarray(Image.open(io.BytesIO(table[props["image"]][5]))).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(shown - pixels[5]).max() < 0.005
    assert 'href="atlas/index.html"' in (site / "index.html").read_text()


def test_the_exported_atlas_opens_without_another_host(faces: Path, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    pytest.importorskip("embedding_atlas", reason="Embedding Atlas is not installed")
    assert run(monkeypatch, "explore", str(faces), "--export", str(tmp_path), "--atlas") == 0
    table = pq.read_table(tmp_path / "atlas" / "data" / "dataset.parquet")
    assert table["random.x"].to_pylist() == explored(str(faces))["views"]["random"][0]
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with chromium() as browser, ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        page = browser.new_page()
        asked: list[str] = []
        failed: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
        page.goto(address)
        page.locator("#atlas:visible, #no-gpu:visible").wait_for()
        has_gpu = page.evaluate("async () => !!(await navigator.gpu?.requestAdapter())")
        assert page.locator("#atlas").is_visible() == has_gpu
        assert page.locator("#plot").get_attribute("data-drawn") == "24"
        page.goto(f"{address}atlas/index.html")
        page.get_by_text("Smiling", exact=True).first.wait_for(timeout=120_000)
        server.shutdown()
    assert not failed and all(url.startswith((address, "blob:", "data:")) for url in asked)


def test_umap_is_seeded_and_keeps_clusters_apart() -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed")
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 30)
    values = rng.standard_normal((60, 8)) + 12.0 * kind[:, None]
    project = PROJECTIONS["umap"][1]
    first, second = project(values, 1), project(values, 1)
    assert first.shape == (2, 60) and (first == second).all()
    centres = np.array([first[:, kind == k].mean(1) for k in (0, 1)])
    within = max(first[:, kind == k].std(1).max() for k in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * within


def test_a_projection_that_is_not_there_is_refused(faces: Path) -> None:
    with pytest.raises(UsageError, match="--projection tsne: choose of pca, umap"):
        explored(str(faces), projection="tsne")


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
