"""Every diffusion row of the zoo, on a small folder of its own classes and layout, held to diffusers' own pipelines."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from noisezoo import zoo
from noisezoo.builder.models.inverter import Inverter
from noisezoo.builder.models.schemes import SCHEMES
from tests.builder.folders import DIFFUSION_FOLDERS, PICKLED, PROMPT, Folders, edit_json, latents, pictures, shape
from tests.builder.references import (
    PROMPTS,
    References,
    call_arguments,
    distance,
    record_steps,
    reference,
    unpack,
)

ROWS, PROMPTED = tuple(DIFFUSION_FOLDERS), tuple(PROMPTS)
STEPS = 4
FORWARDS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(ROWS, (1, 2)),
    **dict.fromkeys(("lcm", "flux-dev"), (1, 1)),
    "sdxl": (2, 2),
}
"""Forwards a step that guidance at 3.5 needs: for the empty prompt and for another one."""
SCALES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(ROWS, (0.18215, 0.0)),
    "ldm-celebahq-256": (1.0, 0.0),
    "sdxl": (0.13025, 0.0),
    "pixart": (0.13025, 0.0),
    "sd3-medium": (1.5305, 0.0609),
    "flux-dev": (0.3611, 0.1159),
}
"""Scale and shift of each row's latents, as its model was trained."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("diffusion"))


Load = Callable[..., Inverter]


@pytest.fixture(scope="module")
def load(folders: Folders) -> Load:
    """Inverters by row, loaded once for each setting; their forwards are counted from nought."""
    loaded: dict[str, Inverter] = {}

    def once(row: str, **settings: Any) -> Inverter:
        key = f"{row} {sorted(settings.items())}"
        loaded[key] = loaded.get(key) or open_row(folders[row], row, **settings)
        loaded[key].network.forwards = 0
        return loaded[key]

    return once


@pytest.fixture(scope="module")
def references(folders: Folders) -> References:
    return References(folders)


def open_row(folder: Path, row: str, **settings: Any) -> Inverter:
    return Inverter.from_pretrained(
        folder, **{"num_inference_steps": STEPS, "pickled": row in PICKLED, "device": "cpu", **settings}
    )


def test_every_diffusion_model_of_the_zoo_on_the_hub_has_a_folder_here_pickled_where_its_row_says_so() -> None:
    rows = [row for row in zoo.rows() if row.family == "diffusers" and not row.untrained and row.folder is None]
    assert {row.name for row in rows} == set(ROWS) - {"pixart-alpha"}
    assert {row.name for row in rows if row.pickled} == set(PICKLED)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_inverts_pictures_of_its_own_size_to_finite_noise(row: str, load: Load) -> None:
    noise = load(row).invert(pictures(row))
    assert noise.shape == (2, *shape(row))
    assert noise.dtype == torch.float32
    assert noise.isfinite().all()
    assert distance(noise[:1], noise[1:]) > 1e-3, "two pictures must have two noises"


@pytest.mark.parametrize("time", [1, 981])
@pytest.mark.parametrize("row", ROWS)
def test_a_network_says_what_its_pipeline_would_for_the_empty_prompt(
    row: str, time: int, load: Load, references: References
) -> None:
    with torch.inference_mode():
        found = load(row).network(latents(row, 3), time)
    torch.testing.assert_close(found, reference(references[row], latents(row, 3), time), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 3.5])
@pytest.mark.parametrize("row", PROMPTED)
def test_a_network_says_what_its_pipeline_would_for_a_prompt(
    row: str, scale: float, load: Load, references: References
) -> None:
    inverter = load(row, prompt=PROMPTS[row], guidance_scale=scale)
    with torch.inference_mode():
        found = inverter.network(latents(row, 3), 500)
    expected = reference(references[row], latents(row, 3), 500, PROMPTS[row], scale)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


NEGATED = ("sd15", "sd21", "sdxl", "sd3-medium", "pixart", "pixart-alpha")


@pytest.mark.parametrize("negative", ["", "a blurred drawing"])
@pytest.mark.parametrize("row", NEGATED)
def test_guidance_leads_away_from_the_negative_prompt(
    row: str, negative: str, load: Load, references: References
) -> None:
    inverter = load(row, prompt=PROMPT, negative_prompt=negative)
    with torch.inference_mode():
        found = inverter.network(latents(row), 500)
    expected = reference(references[row], latents(row), 500, PROMPT, 3.5, negative)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", ["sd15", "sd3-medium", "flux-dev", "pixart-alpha"])
def test_a_prompt_too_long_for_its_towers_is_cut_where_the_pipeline_cuts_it(
    row: str, load: Load, references: References
) -> None:
    prompt = "a face with long hair and a hat " * 40
    with torch.inference_mode():
        found = load(row, prompt=prompt).network(latents(row), 500)
    expected = reference(references[row], latents(row), 500, prompt)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", ROWS)
def test_a_second_forward_is_made_exactly_where_it_can_matter(row: str, load: Load) -> None:
    y, (empty, prompted) = latents(row, 1), FORWARDS[row]
    inverter = load(row)
    inverter.invert_latents(y)
    assert inverter.network.forwards == empty * STEPS
    if row in PROMPTED:
        inverter = load(row, prompt=PROMPTS[row])
        inverter.invert_latents(y)
        assert inverter.network.forwards == prompted * STEPS
        inverter = load(row, prompt=PROMPTS[row], guidance_scale=1.0)
        inverter.invert_latents(y)
        assert inverter.network.forwards == STEPS


def test_sdxl_needs_one_forward_for_an_empty_prompt_against_an_empty_prompt(load: Load) -> None:
    inverter = load("sdxl", negative_prompt="")
    inverter.invert_latents(latents("sdxl", 1))
    assert inverter.network.forwards == STEPS


def test_sdxl_without_zeros_for_no_prompt_needs_one_forward(folders: Folders, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["sdxl"], tmp_path / "model"))
    edit_json(folder / "model_index.json", force_zeros_for_empty_prompt=False)
    inverter = open_row(folder, "sdxl")
    inverter.invert_latents(latents("sdxl", 1))
    assert inverter.network.forwards == STEPS


@pytest.mark.parametrize("row", PROMPTED)
def test_each_picture_may_have_a_prompt_of_its_own(row: str, load: Load) -> None:
    inverter, y = load(row), latents(row)
    together = inverter.invert_latents(y, prompts=[PROMPTS[row], ""])
    alone = load(row, prompt=PROMPTS[row]).invert_latents(y[:1]), inverter.invert_latents(y[1:])
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4)
    assert distance(alone[0], inverter.invert_latents(y[:1])) > 1e-5, "the prompt must matter for this to mean anything"


@pytest.mark.parametrize("row", ROWS)
def test_a_picture_s_noise_does_not_depend_on_its_batch(row: str, load: Load) -> None:
    inverter = load(row)
    together = inverter.invert(pictures(row, 4))
    alone = torch.cat([inverter.invert(pictures(row, 4)[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_loaded_twice_gives_the_same_noise_to_the_bit(row: str, load: Load, folders: Folders) -> None:
    first, again = load(row), open_row(folders[row], row)
    assert torch.equal(first.invert(pictures(row)), again.invert(pictures(row)))
    assert torch.equal(first.invert(pictures(row)), again.invert(pictures(row)))


HALF: Mapping[str, Mapping[str, float]] = {
    "float16": {**dict.fromkeys(ROWS, 0.01), "sdxl": 0.05},
    "bfloat16": {**dict.fromkeys(ROWS, 0.05), "sdxl": 0.25, "flux-dev": 0.2},
}
"""Relative error of the noise after 4 steps.

SDXL's empty prompt is guided, which multiplies rounding by up to 2w - 1 = 6. FLUX's transformer rounds time and
guidance to its own dtype before it embeds them, in diffusers' own pipeline too.
"""


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("row", ROWS)
def test_a_half_precision_network_stays_near_float32_and_keeps_a_float32_state(
    row: str, dtype: str, load: Load
) -> None:
    exact, half = load(row).invert(pictures(row)), load(row, dtype=dtype).invert(pictures(row))
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.to(getattr(torch, dtype)).float()), "the state was rounded to the network's dtype"
    assert 0 < distance(half, exact) < HALF[dtype][row]


@pytest.mark.parametrize("row", ROWS)
def test_an_untrained_row_is_another_network_of_the_same_kind_behind_the_same_autoencoder(row: str, load: Load) -> None:
    trained, untrained, other = load(row), load(row, untrained_seed=7), load(row, untrained_seed=8)
    assert type(untrained.pipeline.denoiser) is type(trained.pipeline.denoiser)
    torch.testing.assert_close(untrained.encode(pictures(row)), trained.encode(pictures(row)), rtol=0, atol=0)
    found = [inverter.invert(pictures(row)) for inverter in (trained, untrained, other)]
    assert distance(found[1], found[0]) > 1e-3
    assert distance(found[2], found[1]) > 1e-3


@pytest.mark.parametrize("row", ROWS)
def test_latents_are_the_autoencoder_s_mode_shifted_and_scaled_as_its_model_was_trained(
    row: str, load: Load, references: References
) -> None:
    (scale, shift), pipeline = SCALES[row], references[row]
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "vqvae", None)
    with torch.inference_mode():
        if vae is None:
            mode, decoded = pictures(row), pictures(row)
        else:
            mode = vae.encoder(pictures(row))
            mode = vae.quant_conv(mode) if vae.quant_conv is not None else mode
            mode = mode[:, : shape(row)[0]]  # the mean; the rest is the log-variance
            decoded = vae.decode(mode).sample
    expected = mode if vae is None else (mode - shift) * scale
    found = load(row).encode(pictures(row))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(load(row).decode(found), decoded, rtol=1e-3, atol=1e-4)


# The noise schedule, and the way back.


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("row", ["sd15", "sd21", "sd3-medium", "flux-dev"])
def test_every_scheme_inverts_every_kind_of_prediction(row: str, scheme: str, load: Load) -> None:
    inverter = load(row, scheme=scheme, prompt=PROMPT)
    noise, previous = inverter.invert_states(latents(row))
    assert noise.shape == (2, *shape(row))
    assert noise.isfinite().all()
    assert inverter.scheme.keeps_previous is (previous is not None)
    assert inverter.faults == [None, None]
    if inverter.scheme.keeps_previous:  # the one kind of scheme whose way back is exact
        again = inverter.generate(noise, previous=previous)
        torch.testing.assert_close(again, inverter.decode(latents(row)), rtol=1e-2, atol=1e-3)


SAMPLED = ("sd21", "ldm-celebahq-256", "dit-xl-2-256", "sdxl", "sd3-medium", "flux-dev", "pixart", "pixart-alpha")
"""Rows whose own sampler is a first-order or multistep one on plain timesteps (PNDM, LCM and DDPM are not)."""


@pytest.mark.parametrize("row", SAMPLED)
def test_the_network_is_told_the_times_of_the_folder_s_own_sampler(
    row: str, load: Load, references: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = record_steps(references[row], STEPS, latents(row, 1), PROMPTS.get(row, ""))
    expected = [float(time) for _, time, _ in steps]
    inverter, told = load(row), []
    kind = type(inverter.network)
    call = kind.__call__

    def listen(network: Any, y: Tensor, time: float) -> Tensor:
        told.append(float(time))
        return call(network, y, time)

    monkeypatch.setattr(kind, "__call__", listen)
    inverter.invert_latents(latents(row, 1))
    assert told == pytest.approx(expected[::-1], abs=1e-3)


@pytest.mark.parametrize("row", ["sd21", "dit-xl-2-256", "sd3-medium", "flux-dev"])
def test_generating_from_noise_is_the_pipeline_s_own_sampler(row: str, load: Load, references: References) -> None:
    pipeline, prompt, dit = references[row], PROMPTS[row], row.startswith("dit")
    noise = torch.randn(1, *shape(row), generator=torch.Generator().manual_seed(2))
    call = call_arguments(pipeline, noise, prompt)
    inverter = load(row, prompt=prompt, guidance_scale=call["guidance_scale"])
    found = inverter.generate(noise)
    if dit:  # it draws the same noise by its generator, and gives pictures in [0, 1] only
        expected = pipeline(num_inference_steps=STEPS, output_type="pt", **call).images * 2 - 1
        found = found.clamp(-1, 1)
    else:
        state = pipeline(num_inference_steps=STEPS, **call).images
        expected = inverter.decode(unpack(pipeline, state, shape(row)[-1]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
