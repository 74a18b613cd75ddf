"""Edits at hand: what the sliders do to noise and picture, what lies near, and the page in a browser."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import noisezoo
from noisezoo.analysis.probes import fit_probes
from noisezoo.analysis.studies.data import Data
from noisezoo.analysis.studies.study import Judge, Model
from noisezoo.builder.__main__ import run as build
from noisezoo.commands.edit_live import drawn, make_page, neighbours
from noisezoo.commands.live import Live, open_live
from noisezoo.errors import UsageError
from noisezoo.record import read_record
from tests.analysis import browser
from tests.builder.building import digits_recipe
from tests.noisezoo.test_cli import run

VIEWS = ("digits-ddpm", "pixels-8", "random-64")
NAMES = ("digit=0", "digit=1", "digit=4")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "digits"
    assert build(digits_recipe(VIEWS, limit=200, slice_rows=64, settings={"batch_size": 64}), folder)
    return folder


def picture(noise: np.ndarray) -> np.ndarray:
    """A model with a known answer: the picture is the noise, squeezed."""
    return np.tanh(noise.reshape(-1, 1, 8, 8) / 3).astype(np.float32)


@pytest.fixture(scope="module")
def live(digits: Path) -> Live:
    judge = Judge("random-64", lambda images: images.reshape(len(images), -1)[:, ::-1])
    return open_live(Data(digits), Model("digits-ddpm", picture), [judge], attributes=NAMES)


def test_sliders_at_zero_leave_the_noise_and_its_picture_as_they_are(live: Live) -> None:
    row = live.shown[3]
    noise = live.edited(row, dict.fromkeys(NAMES, 0.0), orthogonal=False)
    np.testing.assert_array_equal(noise, live.noise[row : row + 1])
    np.testing.assert_array_equal(live.generate(noise), picture(live.noise[row : row + 1]))


def test_a_slider_moves_noise_by_projected_deviations_and_without_others_leaves_their_logits(
    live: Live, digits: Path
) -> None:
    rows = noisezoo.load(digits, views=["digits-ddpm"])
    train = np.array(rows["split"]) == "train"
    X, labels = noisezoo.matrix(rows, "digits-ddpm"), np.array(rows["digit"])
    every = np.stack([labels == kind for kind in range(10)], 1).astype(float)
    probes = fit_probes(X[train], every[train])
    row = live.shown[0]
    before = probes.decision_function(X[row : row + 1])[0]
    plain, pure = (
        probes.decision_function(live.edited(row, {"digit=1": 2.0}, orthogonal=orthogonal))[0] - before
        for orthogonal in (False, True)
    )
    assert plain[1] > 0 and pure[1] > 0
    others = np.arange(10) != 1
    assert np.abs(plain[others]).max() > 0.1 > 1e-3 > np.abs(pure[others]).max()
    normal = probes.coef[:, 1] / np.linalg.norm(probes.coef[:, 1])
    moved = (live.edited(row, {"digit=1": 2.0}, orthogonal=False) - X[row]) @ normal
    assert moved[0] == pytest.approx(2 * (X[train] @ normal).std(), rel=1e-3)


def test_sliders_add_up(live: Live) -> None:
    row = live.shown[1]
    one, two = ({"digit=0": 1.5}, {"digit=4": -2.0})
    both = live.edited(row, {**one, **two}, orthogonal=False)
    steps = [live.edited(row, each, orthogonal=False) - live.noise[row] for each in (one, two)]
    np.testing.assert_allclose(both - live.noise[row], steps[0] + steps[1], atol=1e-5)


def test_neighbours_are_those_of_largest_centred_cosine_in_each_view(live: Live, digits: Path) -> None:
    row, data = live.shown[2], Data(digits)
    noise = live.noise[row : row + 1]
    near = live.nearest(noise, live.generate(noise), 5)
    assert list(near) == ["digits-ddpm", "random-64", "pixels-8"]
    assert near["digits-ddpm"][0] == (row, pytest.approx(1, abs=1e-5))
    seen = {"digits-ddpm": noise[0], "pixels-8": picture(noise).ravel(), "random-64": picture(noise).ravel()[::-1]}
    for view, found in near.items():
        X = data.matrix(view).astype(np.float64)
        a, b = X - X.mean(0), seen[view] - X.mean(0)
        cosines = a @ b / np.linalg.norm(a, axis=1) / np.linalg.norm(b)
        assert [k for k, _ in found] == np.argsort(-cosines)[:5].tolist()
        np.testing.assert_allclose([c for _, c in found], np.sort(cosines)[::-1][:5], atol=1e-5)


def test_images_to_choose_are_held_out_ones(live: Live, digits: Path) -> None:
    splits = noisezoo.load(digits, views=[])["split"]
    assert live.shown and {splits[row] for row in live.shown} == {"validation", "test"}


def test_a_picture_is_drawn_as_squares_of_its_pixels() -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32))
    large = drawn(image)
    assert large.shape == (256, 256, 3) and large.dtype == np.uint8
    np.testing.assert_array_equal(large[::8, ::8], large[7::8, 7::8])
    np.testing.assert_array_equal(large[::8, ::8].transpose(2, 0, 1), np.round((image + 1) * 127.5).astype(np.uint8))
    assert drawn(image[:1, :8, :8]).shape == (256, 256, 3)


def test_the_table_of_neighbours_names_each_with_its_cosine_and_nothing_in_it_is_markup(live: Live) -> None:
    table = neighbours(live, {"<b>": [(0, 0.25)]})
    assert "&lt;b&gt;" in table and f'alt="{live.ids[0]}"' in table and "0.25" in table and "data:image/png" in table


@pytest.mark.parametrize(
    ("options", "message"),
    [({"model": "pixels-8"}, "pictures can only be made through a noise view"),
     ({"model": "ddpm"}, "--model ddpm: the dataset's noise views are: digits-ddpm"),
     ({"model": "digits-ddpm", "encoders": ["faces-clip"]}, "--encoders faces-clip: the dataset's embeddings are"),
     ({"model": "digits-ddpm", "edit": ["digit=11"]}, "--edit digit=11: it cannot be edited here; these can: digit=0")],
)  # fmt: skip
def test_what_is_not_there_is_one_line(digits: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        make_page(str(digits), **options)


def exported(digits: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    given = ["edit-live", str(digits), "--model", "digits-ddpm", "--edit", ",".join(NAMES), "--export", str(folder)]
    assert run(monkeypatch, *given) == 0
    return folder


def test_an_exported_space_holds_what_it_needs_and_names_what_it_installs(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = exported(digits, tmp_path / "space", monkeypatch)
    front = yaml.safe_load((space / "README.md").read_text().split("---")[1])
    assert (front["sdk"], front["app_file"]) == ("gradio", "app.py") and re.match(r"\d+\.\d+", front["sdk_version"])
    assert (space / "requirements.txt").read_text() == "noisezoo[analysis,build,live]\n"
    record = read_record(space / "digits")
    assert record is not None and record.sections[0].view_names == ["digits-ddpm", "pixels-8"]
    with pytest.raises(UsageError, match="is not empty"):
        from noisezoo.commands.edit_live import write_space

        write_space(str(digits), space, {"model": "digits-ddpm", "encoders": None}, "noisezoo")


def test_a_browser_edits_a_picture_of_the_exported_space(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="the extra `live` is not installed: no look at the page")
    space = exported(digits, tmp_path / "space", monkeypatch)
    served = subprocess.Popen([sys.executable, "app.py"], cwd=space, stdout=subprocess.PIPE, text=True)
    try:
        address = next(found[0] for line in served.stdout or () if (found := re.search(r"http://127\S+", line)))
        with browser.chromium() as chromium:
            page = chromium.new_page()
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(address)
            cells = page.locator("table td")
            cells.first.wait_for()
            assert page.locator("input[type=range]").count() == len(NAMES) and cells.count() == 2 * 6
            edited = page.locator("button.image-frame img, .image-container img, .image-frame img").nth(2)
            before = [edited.get_attribute("src"), page.locator("table").inner_text()]
            page.locator("input[type=range]").first.focus()
            for _ in range(8):
                page.keyboard.press("ArrowRight")
            page.wait_for_function("([old]) => document.querySelector('table').innerText != old", arg=[before[1]])
            assert edited.get_attribute("src") != before[0]
            page.get_by_label("Each direction without").check()
            page.wait_for_function("([old]) => document.querySelector('table').innerText != old", arg=[before[1]])
            page.get_by_role("button", name="All to zero").click()
            page.wait_for_function("([old]) => document.querySelector('table').innerText == old", arg=[before[1]])
            assert {url.split("/")[2].split(":")[0] for url in asked if url.startswith("http")} == {"127.0.0.1"}
    finally:
        served.terminate()
        served.wait(20)
