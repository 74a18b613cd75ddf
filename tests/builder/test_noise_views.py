"""Noise views: what reaches the inverter, what is stored of what it gives, what is shared with the autoencoder's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from noisezoo import zoo
from noisezoo.builder.__main__ import run
from noisezoo.builder.engine.build import open_build
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.recipe import Settings
from noisezoo.builder.sources.pixels import signed
from noisezoo.builder.sources.source import Refusal, open_source
from noisezoo.builder.views.computer import Rows, Work
from noisezoo.builder.views.families import make_computer
from noisezoo.builder.views.networks import LatentComputer, NoiseComputer, image_seed, module_digest
from noisezoo.builder.views.quality import is_sampled, measure
from noisezoo.builder.views.slices import Slice
from noisezoo.schema import PREVIOUS
from tests.builder.building import recipe_of

N = 6
IDS = [f"digits-{k}" for k in range(N)]


def digits(n: int = N) -> list[Image.Image]:
    source = open_source("digits")
    return [source.picture(key) for key in source.scan().column("key").to_pylist()[:n]]


def computer(name: str = "digits-ddpm", **settings: Any) -> NoiseComputer:
    made = make_computer(zoo.get(name), Settings(**{"num_inference_steps": 5, "reconstruct": 0.0, **settings}))
    made.load()
    assert isinstance(made, NoiseComputer)
    return made


def rows_of(made: NoiseComputer, ids: Sequence[str] = IDS, prompts: Sequence[str] | None = None) -> Rows:
    kept, rows, refusals = made.rows(ids, digits(len(ids)), prompts)
    assert (kept, refusals) == (list(ids), [])
    return rows


def spoil(made: NoiseComputer, call: int, row: int) -> None:
    """Make the network's output at one call (from 1) NaN for one row of the batch."""
    calls = 0

    def hook(module: Any, arguments: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            output[row] = float("nan")

    made.pipeline.denoiser.conv_out.register_forward_hook(hook)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_network_that_gives_nan_costs_that_row_and_names_the_step(step: int) -> None:
    sound = rows_of(computer())["digits-ddpm"]
    made = computer()
    spoil(made, step, 2)
    kept, rows, refusals = made.rows(IDS, digits())
    assert kept == [i for i in IDS if i != IDS[2]]
    message = f"the network's output is not finite at step {step} of 5"
    assert refusals == [Refusal(IDS[2], "digits-ddpm", "FloatingPointError", message)]
    assert np.array_equal(rows["digits-ddpm"], np.delete(sound, 2, axis=0))


def test_a_picture_that_does_not_regenerate_to_numbers_is_refused() -> None:
    made = computer(reconstruct=1.0)
    spoil(made, 7, 4)  # after five of the inversion
    kept, rows, refusals = made.rows(IDS, digits())
    assert [(r.image_id, r.message) for r in refusals] == [
        (IDS[4], "the picture regenerated from the row is not finite")
    ]
    assert kept == [i for i in IDS if i != IDS[4]]
    assert np.isfinite(rows["reconstruction_psnr"]).all()


def test_the_sampled_rows_and_no_others_are_measured_against_their_pictures() -> None:
    ids = [f"x{k}" for k in range(40)]
    made = computer(reconstruct=0.2, batch_size=4)
    rows = rows_of(made, ids)
    sample = [k for k, image_id in enumerate(ids) if is_sampled(image_id, 42, 0.2)]
    assert 2 < len(sample) < 20
    for column in ("reconstruction_psnr", "reconstruction_ssim"):
        assert np.flatnonzero(np.isfinite(rows[column])).tolist() == sample
    stored = torch.from_numpy(rows["digits-ddpm"][sample].astype(np.float32))
    again = made.inverter.generate(stored).numpy()
    reference = np.stack([signed(image, 8) for image in digits(40)])[sample]
    for name, column in measure(["psnr", "ssim"], again, reference).items():
        np.testing.assert_allclose(rows[name][sample], column, rtol=1e-4)


def test_a_row_s_measure_does_not_depend_on_its_neighbours_being_refused() -> None:
    whole, holed = computer(reconstruct=1.0, batch_size=4), computer(reconstruct=1.0, batch_size=4)
    images: list[Image.Image | Exception] = [*digits()]
    images[1] = OSError("torn")
    rows = rows_of(whole)
    kept, fewer, _ = holed.rows(IDS, images)
    assert len(kept) == N - 1
    np.testing.assert_allclose(fewer["reconstruction_psnr"], np.delete(rows["reconstruction_psnr"], 1), atol=1e-3)


def test_without_a_sample_there_are_no_columns_of_it() -> None:
    assert list(rows_of(computer())) == ["digits-ddpm", "latent_mean", "latent_std"]


def test_measuring_changes_no_row() -> None:
    assert np.array_equal(
        rows_of(computer())["digits-ddpm"], rows_of(computer(reconstruct=1.0, metrics=["ssim"]))["digits-ddpm"]
    )


def test_a_scheme_of_two_latents_keeps_both_and_regenerates_from_what_is_stored() -> None:
    exact = rows_of(computer(scheme="bdia", reconstruct=1.0, num_inference_steps=10))
    plain = rows_of(computer(reconstruct=1.0, num_inference_steps=10))
    assert exact[PREVIOUS].shape == exact["digits-ddpm"].shape
    assert exact[PREVIOUS].dtype == np.float16
    assert not np.array_equal(exact[PREVIOUS], exact["digits-ddpm"])
    assert PREVIOUS not in plain
    assert exact["reconstruction_psnr"].min() > plain["reconstruction_psnr"].max() + 5


def test_drawn_noise_follows_recipe_seed_view_and_image_id_alone() -> None:
    drawn: dict[str, Any] = {"scheme": "forward-start", "scheme_options": {"share": 0.4}}
    once = rows_of(computer(**drawn))["digits-ddpm"]
    few = computer(**drawn, batch_size=2).rows([IDS[3], IDS[1]], [digits()[3], digits()[1]])[1]["digits-ddpm"]
    np.testing.assert_allclose(few.astype(float), once[[3, 1]].astype(float), atol=2e-3)
    for other in (rows_of(computer(**drawn, seed=43)), rows_of(computer(**drawn), [f"other-{k}" for k in range(N)])):
        assert np.abs(other["digits-ddpm"].astype(float) - once.astype(float)).mean() > 0.01
    seeds = {image_seed(view, seed, i) for view in ("a", "b") for seed in (1, 2) for i in IDS}
    assert len(seeds) == 4 * N
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.fixture
def tiny(stable_diffusion: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A view through the tiny Stable Diffusion, in a zoo of the test's own, with its autoencoder's."""
    monkeypatch.setattr(zoo, "ROWS", dict(zoo.ROWS))
    row = zoo.View("tiny", "noise", "diffusers", str(stable_diffusion), 16, (4, 8, 8), "none", 1.0, "a test's view",
                   autoencoder="tiny-vae")  # fmt: skip
    return zoo.register(row).name


def test_each_image_is_inverted_by_its_own_prompt(tiny: str, stable_diffusion: Path) -> None:
    prompts = ["a cat", "", "a dog", "a cat", "x", ""]
    rows = rows_of(computer(tiny), prompts=prompts)[tiny]
    pixels = torch.from_numpy(np.stack([signed(image, 16) for image in digits()]))
    for k, prompt in enumerate(prompts):
        alone = Inverter.from_pretrained(stable_diffusion, num_inference_steps=5, prompt=prompt)
        np.testing.assert_allclose(rows[k : k + 1], alone.invert(pixels[k : k + 1]).numpy(), atol=5e-3)
    assert np.abs(rows - rows_of(computer(tiny))[tiny])[0].max() > 0.01, "or prompts would have no effect here"


def test_an_image_that_is_refused_takes_its_prompt_along(tiny: str) -> None:
    prompts = [f"picture {letter}" for letter in "abcdef"]
    rows = rows_of(computer(tiny), prompts=prompts)[tiny]
    images: list[Image.Image | Exception] = [*digits()]
    images[1] = OSError("torn")
    fewer = computer(tiny).rows(IDS, images, prompts)[1][tiny]
    np.testing.assert_allclose(fewer, np.delete(rows, 1, axis=0), atol=5e-3)


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each pass through an autoencoder took."""
    passes: list[int] = []
    original = LatentComputer.encode

    def counted(self: LatentComputer, inputs: np.ndarray) -> np.ndarray:
        passes.append(len(inputs))
        return original(self, inputs)

    monkeypatch.setattr(LatentComputer, "encode", counted)
    return passes


def shared_rows(names: Sequence[str], images: Sequence[Image.Image | Exception], **settings: Any) -> list[Any]:
    """What each view gives on one slice that they share: (ids, rows, refusals)."""
    part = Slice(IDS, lambda piece: [images[k] for k in piece])
    found = []
    for name in names:
        made = make_computer(zoo.get(name), Settings(num_inference_steps=2, reconstruct=0, **settings))
        made.load()
        work = Work(made, part)
        for batch in work.batches:
            wanted = part.promise(made.encoding, batch)
            work.add(batch, work.prepare_batch(batch) if wanted else {})
        found.append(work.finish())
    return found


def test_views_of_one_autoencoder_share_one_encoding_and_refusals_and_give_the_same_bytes(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = count_encodings(monkeypatch)
    images: list[Image.Image | Exception] = [*digits()]
    images[3] = OSError("torn")
    names = [tiny, "tiny-untrained", "tiny-vae"]
    together = shared_rows(names, images, batch_size=4)
    assert passes == [3, 2]
    for name, (ids, rows, refusals) in zip(names, together, strict=True):
        alone_ids, alone, alone_refusals = shared_rows([name], images, batch_size=4)[0]
        assert ids == alone_ids == [i for i in IDS if i != IDS[3]]
        assert (refusals, [r.stage for r in refusals]) == (alone_refusals, [name])
        assert np.array_equal(rows[name], alone[name])
    assert not np.array_equal(together[0][1][tiny], together[1][1]["tiny-untrained"])


def test_views_of_different_autoencoders_share_nothing(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = count_encodings(monkeypatch)
    shared_rows(["faces-vae", "tiny-vae", "digits-ddpm"], digits())
    assert passes == [N, N, N]


def test_an_autoencoder_is_told_by_its_weights_and_settings_wherever_it_lies() -> None:
    from tests.builder.models import tiny_autoencoder

    torch.manual_seed(0)
    one = tiny_autoencoder()
    copy = tiny_autoencoder()
    copy.load_state_dict(one.state_dict())
    assert module_digest(copy) == module_digest(one)
    scaled = tiny_autoencoder(scaling_factor=0.5)
    scaled.load_state_dict(one.state_dict())
    assert module_digest(scaled) != module_digest(one)
    with torch.no_grad():
        next(copy.parameters()).view(-1)[0] += 1e-6
    assert module_digest(copy) != module_digest(one)
    assert module_digest(one.half()) != module_digest(one.float())


def test_where_x_t_sits_is_recorded_with_every_unit_and_in_the_card(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    assert run(recipe_of("digits", ("digits-ddpm", "pixels-8"), limit=8, settings={"num_inference_steps": 50}), folder)
    units = {unit.view.name: unit for unit in open_build(folder).all_units()}
    marker = units["digits-ddpm"].marker()
    assert marker is not None
    assert marker["facts"]["x_T_time"] == 980, "50 leading steps of 1,000 without an offset end short of 999"
    assert marker["facts"]["x_T_a"] ** 2 + marker["facts"]["x_T_s"] ** 2 == pytest.approx(1)
    assert (units["pixels-8"].marker() or {})["facts"] == {}
    assert "t = 980: " in (folder / "README.md").read_text()
