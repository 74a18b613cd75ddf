"""Generated pictures: their noise is known, their labels are a judge's, and closed forms say what probes must find."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Features, Value
from PIL.Image import Image, fromarray

import noisezoo
from noisezoo import cli
from noisezoo.analysis.probes import probe_table
from noisezoo.builder.__main__ import run
from noisezoo.builder.audit.verify import verify
from noisezoo.builder.models.encoders import Encoder
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.models.schemes import SCHEMES, make_scheme
from noisezoo.builder.recipe import read_recipe
from noisezoo.builder.sources.source import Source, open_source, register_source
from noisezoo.builder.views.generated import Generated, true_noise
from noisezoo.errors import UsageError
from tests.builder.building import published, recipe_of
from tests.builder.closed_forms import diffusion, level_at
from tests.builder.encoder_folders import save_open_clip
from tests.builder.test_bundled_recipes import save_deep

SOURCE = "generated:digits-ddpm"
OPTIONS: dict[str, Any] = {"count": 24, "num_inference_steps": 4, "classifier": "tests.builder.test_generated:bright"}
VIEWS = ("digits-ddpm", "digits-ddpm-true", "pixels-8")
M = 0.35 * np.sign(np.random.default_rng(5).standard_normal((8, 8)))
"""Half the way between the two components of the mixture."""


def bright(images: Sequence[Image]) -> Mapping[str, Sequence[bool]]:
    return {"bright": [bool(np.asarray(image).mean() > 40) for image in images]}


def sides(images: Sequence[Image]) -> Mapping[str, Sequence[bool]]:
    """The component by the side of the hyperplane, and a label that no linear map of a Gaussian can tell."""
    grey = np.stack([np.asarray(image)[..., 0] / 127.5 - 1 for image in images])
    side, exclusive = np.tensordot(grey, M, 2) > 0, grey[:, 0, 0] * grey[:, 0, 1] > 0
    return {"side": side.tolist(), "exclusive": exclusive.tolist()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "noisezoo"


class ClosedForm:
    """The perfect denoiser of two equal Gaussians at +m and -m, of one width, sampled by DDIM."""

    scheme = SCHEMES["ddim"]

    def __init__(self, m: np.ndarray, width: float) -> None:
        self.m, self.width, self.path = m, width, diffusion(25)

    def generate(self, noise: torch.Tensor, prompts: object = None) -> torch.Tensor:
        made = make_scheme("ddim", self.path).generate(noise.double(), self._network, None)
        return made.float().expand(-1, 3, -1, -1)

    def _network(self, y: torch.Tensor, time: float) -> torch.Tensor:
        times, a, s = self.path.schedule
        a, s = level_at(self.path, float(np.interp(time, times, s / (a + s))))
        variance = a**2 * self.width**2 + s**2
        mean = np.tanh(a * np.tensordot(y.numpy()[:, 0], self.m, 2) / variance)[:, None, None, None] * self.m
        x0 = mean + a * self.width**2 / variance * (y.numpy() - a * mean)
        return torch.from_numpy((y.numpy() - a * x0) / s)


def sampled(monkeypatch: pytest.MonkeyPatch, m: np.ndarray, width: float, n: int) -> tuple[np.ndarray, Any]:
    """True noise (n, 64) of a closed form's pictures, and the table of their labels."""
    monkeypatch.setattr(Generated, "_inverter", ClosedForm(m, width))
    options = {"count": n, "classifier": "tests.builder.test_generated:sides"}
    table = open_source(SOURCE, options).scan()
    return np.stack([true_noise(i, (64,)) for i in table.column("image_id").to_pylist()]).astype(np.float32), table


def test_probes_of_true_noise_reach_bayes_where_a_hyperplane_of_it_decides_the_component(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    T, table = sampled(monkeypatch, M, 0.1, 1200)
    side = table.column("side").to_numpy()
    assert (side == (T @ M.ravel() > 0)).all(), "the ODE carries no noise over the hyperplane: Bayes is 1"
    assert 0.4 < side.mean() < 0.6
    found = probe_table(T, side[:, None].astype(int), ["side"]).interval("side")
    assert found.estimate > 0.95 and found.high > 0.97


def test_probes_of_true_noise_stay_at_chance_where_the_model_is_an_isotropic_gaussian(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    T, table = sampled(monkeypatch, 0 * M, 0.3, 1200)
    exclusive = table.column("exclusive").to_numpy()
    found = probe_table(T, exclusive[:, None].astype(int), ["exclusive"]).interval("exclusive")
    assert found.low < 0.5 < found.high
    grey = T[:, 0] * T[:, 1] > 0
    assert (exclusive == grey).mean() > 0.97, "the label is in the noise, but not linearly"


def test_the_dataset_holds_the_very_noise_that_its_pictures_are_made_of(tmp_path: Path) -> None:
    assert run(recipe_of(SOURCE, VIEWS, limit=None, options=OPTIONS), tmp_path / "out")
    rows = noisezoo.load(tmp_path / "out", views=VIEWS)
    noise = noisezoo.matrix(rows, "digits-ddpm-true").reshape(-1, 1, 8, 8)
    assert len(rows) == 24 and np.array_equal(noise.astype(np.float16), noise)
    inverter = Inverter.from_pretrained(noisezoo.zoo.get("digits-ddpm").folder, num_inference_steps=4)
    made = inverter.generate(torch.from_numpy(noise)).numpy()[:, 0].clip(-1, 1)
    np.testing.assert_allclose(noisezoo.matrix(rows, "pixels-8").reshape(-1, 8, 8), made, atol=1.01 / 127.5)
    assert abs(noise.mean()) < 4 / noise.size**0.5 and abs(noise.std() - 1) < 4 / (2 * noise.size) ** 0.5


def test_pictures_are_the_same_from_memory_from_disk_and_made_again_in_any_order(cache: Path) -> None:
    keys = [str(k) for k in range(24)]
    first = open_source(SOURCE, OPTIONS).contents(keys)
    assert len(list(cache.rglob("*.npy"))) == 2
    assert open_source(SOURCE, OPTIONS).contents(keys) == first
    shutil.rmtree(cache)
    again = open_source(SOURCE, OPTIONS)
    assert [again.content(key) for key in reversed(keys)] == first[::-1]
    assert open_source(SOURCE, {**OPTIONS, "seed": 1}).contents(keys) != first
    assert open_source(SOURCE, {**OPTIONS, "count": 5}).contents(keys[:5]) == first[:5]


def test_a_judge_learns_from_real_pictures_and_its_hits_are_frozen_and_published(tmp_path: Path) -> None:
    options = {"count": 40, "num_inference_steps": 10, "real": "digits"}
    assert run(recipe_of(SOURCE, ("pixels-8", "random-64"), limit=None, options=options), tmp_path / "a" / "noisezoo")
    judged = json.loads((tmp_path / "a" / "noisezoo" / "recipe.json").read_text())["source"]["options"]["judged"]
    rows = noisezoo.load(tmp_path / "a" / "noisezoo")
    assert set(judged) == {f"digit={k}" for k in range(10)} | {c for c in rows.column_names if c[0].isupper()}
    held_out = {counts["positives"] + counts["negatives"] for counts in judged.values()}
    assert len(held_out) == 1 and 200 < held_out.pop() < 350  # 30 % of the real digits
    accuracy = {name: (c["hits"] + c["rejections"]) / (c["positives"] + c["negatives"]) for name, c in judged.items()}
    assert min(accuracy.values()) > 0.85 and accuracy["digit=0"] > 0.97
    even = np.asarray(rows["digit"]) % 2 == 0
    assert (np.asarray(rows["Even"]) == even).mean() > 0.7, "two probes see the same pictures"
    assert run(recipe_of(SOURCE, ("pixels-8", "random-64"), limit=None, options=options), tmp_path / "b" / "noisezoo")
    assert published(tmp_path / "a" / "noisezoo") == published(tmp_path / "b" / "noisezoo")


def halves(images: Sequence[Image]) -> np.ndarray:
    """How light the upper and the lower half of each picture is: (n, 2) about 0."""
    grey = np.stack([np.asarray(image)[..., 0] / 127.5 - 1 for image in images])
    return np.stack([grey[:, :4].mean(axis=(1, 2)), grey[:, 4:].mean(axis=(1, 2))], axis=1)


class Halves(Source):
    """Pictures of a light or dark upper and lower half; whether the two are alike is no linear matter of pixels."""

    name = "halves"

    def scan(self) -> pa.Table:
        sides = np.random.default_rng(0).integers(0, 2, (300, 2))
        keys = ["".join(map(str, pair)) for pair in sides]
        return pa.table({"image_id": [f"halves-{k}" for k in range(300)], "key": keys,
                         "alike": sides[:, 0] == sides[:, 1]})  # fmt: skip

    def label_features(self) -> Features:
        return Features({"alike": Value("bool")})

    def content(self, key: str) -> bytes:
        return key.encode()

    def decode(self, content: bytes) -> Image:
        rows = np.repeat([200 if side == ord("1") else 50 for side in content], 4).astype(np.uint8)
        return fromarray(np.broadcast_to(rows[:, None, None], (8, 8, 3)).copy())


def test_a_judge_reads_an_encoder_s_embeddings_and_sees_what_pixels_do_not_show_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class StandIn:
        """An encoder whose embedding says whether the halves are alike."""

        def embed(self, images: Sequence[Image]) -> np.ndarray:
            return halves(images).prod(axis=1, keepdims=True)

    register_source("halves", "tests.builder.test_generated:Halves")
    asked: list[object] = []
    monkeypatch.setattr(Encoder, "from_pretrained", lambda repo, **given: asked.append((repo, given)) or StandIn())
    options = {"count": 48, "num_inference_steps": 4, "real": "halves"}
    by_pixels, by_encoder = (open_source(SOURCE, options | given) for given in ({}, {"judge": "clip-vit-b16"}))
    tables = [source.scan() for source in (by_pixels, by_encoder)]
    row = noisezoo.zoo.get("clip-vit-b16")
    assert asked == [(row.repo, {"family": row.family, "revision": row.revision})]
    rates = []
    for source in (by_pixels, by_encoder):
        counts = source.pinned()["judged"]["alike"]
        rates.append((counts["hits"] + counts["rejections"]) / (counts["positives"] + counts["negatives"]))
    assert rates[0] < 0.7 and rates[1] == 1.0
    truth = halves([by_encoder.picture(str(k)) for k in range(48)]).prod(axis=1)
    clear, seen = np.abs(truth) > 0.02, tables[1].column("alike").to_numpy()
    assert clear.sum() > 20 and (seen == (truth > 0))[clear].mean() > 0.95


def test_the_recipe_of_stable_diffusion_is_built_from_local_folders_as_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On small folders of the same classes, few and small pictures, and drawn faces in the place of CelebA's."""
    monkeypatch.setattr("noisezoo.builder.views.judge.REAL_ROWS", 120)
    monkeypatch.setattr(noisezoo.zoo, "ROWS", dict(noisezoo.zoo.ROWS))
    row = noisezoo.zoo.at_resolution(noisezoo.zoo.get("sd15"), 64)
    noisezoo.zoo.register(row, replace_existing=True)
    save_deep("sd15", tmp_path / "sd15")
    save_open_clip(tmp_path / "clip", patch_size=14, embed_dim=768, quick_gelu=True)
    asked = read_recipe("true-noise-sd15").source.options
    recipe = read_recipe("true-noise-sd15", {
        "source": {"options": {"count": 5, "num_inference_steps": 2, "real": "faces"}},
        "settings": {"num_inference_steps": 2, "reconstruct": 0.0}, "slice_rows": 8, "pca_dims": 4,
        "folders": {"sd15": str(tmp_path / "sd15"), "clip-vit-l14": str(tmp_path / "clip")},
    })  # fmt: skip
    assert run(recipe, tmp_path / "out")
    report = verify(tmp_path / "out")
    assert report.ok, report.findings[:3]
    rows = noisezoo.load(tmp_path / "out", views=["sd15", "sd15-true"])
    assert [row for row in rows["prompt"]] == [asked["prompts"][int(i[-7:]) % 3] for i in rows["image_id"]]
    noise = noisezoo.matrix(rows, "sd15-true", dtype=None)
    expected = [true_noise(image_id, row.shape).ravel() for image_id in rows["image_id"]]
    np.testing.assert_array_equal(noise, np.stack(expected))
    judged = json.loads((tmp_path / "out" / "recipe.json").read_text())["source"]["options"]["judged"]
    assert "Smiling" in judged and set(judged) <= set(rows.column_names)
    assert str(tmp_path) not in (tmp_path / "out" / "recipe.json").read_text()


def test_the_recipe_of_stable_diffusion_is_planned_by_its_name_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["noisezoo", "plan", "true-noise-sd15", "--gpu", "rtx4090", "--json"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    made = json.loads(capsys.readouterr().out)
    assert not stop.value.code and made["images"] == 2000 and made["device_memory"] < 24e9


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("generated", {}, "needs a noise view, as in generated:digits-ddpm"),
        ("generated:faces-clip", {"real": "faces"}, "makes no pictures: name a noise view"),
        (SOURCE, {}, "set one of its options real and classifier"),
        (SOURCE, {"real": "digits", "classifier": "a:b"}, "set one of its options real and classifier"),
        (SOURCE, {"classifier": "nowhere:to_be_found"}, "there is no classifier nowhere:to_be_found"),
        (SOURCE, {"real": "digits", "count": 0}, "give a count of 1 or more"),
        (SOURCE, {"real": "digits", "judge": "digits-ddpm"}, "name an encoder"),
        (SOURCE, {"real": "digits", "scheme": "bdia"}, "needs more than x_T"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_words(source: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        opened = open_source(source, options)
        opened.label_features()
        opened.scan()


def test_true_noise_of_pictures_that_were_not_generated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only pictures of the source generated:digits-ddpm have a known noise"):
        run(recipe_of("digits", ("digits-ddpm-true",), limit=8), tmp_path / "out")
