"""The references that the zoo's rows are held to, held to diffusers' own pipelines."""

import pytest
import torch

from tests.builder.folders import DIFFUSION_FOLDERS, Folders, latents
from tests.builder.references import PROMPTS, References, distance, record_steps, reference

STEPS = 4


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(Folders(tmp_path_factory.mktemp("diffusion")))


@pytest.mark.parametrize("row", DIFFUSION_FOLDERS)
def test_a_reference_is_what_the_pipeline_itself_computes(row: str, references: References) -> None:
    pipeline, prompt = references[row], PROMPTS.get(row, "")
    scale = 1.0 if row.startswith("dit") else 3.5
    steps = record_steps(pipeline, STEPS, latents(row, 1), prompt, scale)
    assert len(steps) >= STEPS
    for state, time, prediction in steps:
        found = reference(pipeline, state, time, prompt, scale)
        torch.testing.assert_close(found, prediction, rtol=1e-5, atol=1e-5)


def test_a_class_is_guided_away_from_the_null_class(references: References) -> None:
    pipeline, y = references["dit-xl-2-256"], latents("dit-xl-2-256")
    u, c, guided = (reference(pipeline, y, 500, p, w) for p, w in (("", 1.0), ("goldfish", 1.0), ("goldfish", 3.5)))
    torch.testing.assert_close(guided, u + 3.5 * (c - u), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", DIFFUSION_FOLDERS)
def test_a_small_network_answers_to_state_time_and_prompt(row: str, references: References) -> None:
    pipeline, y = references[row], latents(row)
    base = reference(pipeline, y, 500)
    assert base.std() > 0.01
    assert distance(reference(pipeline, y.flip(0), 500), base) > 1e-2
    assert distance(reference(pipeline, y, 100), base) > 1e-3
    if row in PROMPTS:
        assert distance(reference(pipeline, y, 500, PROMPTS[row]), base) > 1e-3
