"""The shipped miniature of Stable Diffusion: its text tower is that of `faces-clip`, and it paints what it is told."""

import numpy as np
import open_clip
import pytest
import torch
from transformers import AutoTokenizer, CLIPTextModel

from noisezoo import zoo
from noisezoo.builder.models.inverter import Inverter

FOLDER = zoo.get("faces-ldm").folder
CLIP = zoo.get("faces-clip").folder
PROMPTS = [
    "a face with wearing a hat and black hair",
    "a face with bald and a mustache",
    "a face with wearing eyeglasses",
]
assert FOLDER is not None
assert CLIP is not None


@pytest.fixture(scope="module")
def clip() -> open_clip.CLIP:
    model: open_clip.CLIP = open_clip.create_model_and_transforms(f"local-dir:{CLIP}")[0].float().eval()
    return model


def tokens(texts: list[str]) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "tokenizer")
    ids: torch.Tensor = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids


@torch.inference_mode()
def test_its_text_tower_is_that_of_the_encoder(clip: open_clip.CLIP) -> None:
    tower = CLIPTextModel.from_pretrained(FOLDER / "text_encoder", torch_dtype=torch.float32).eval()
    hidden = tower(tokens(PROMPTS)).last_hidden_state
    x = clip.token_embedding(tokens(PROMPTS)) + clip.positional_embedding
    expected = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask))
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_it_paints_what_the_prompt_says_as_the_encoder_sees_it(clip: open_clip.CLIP) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 4, 8, 8))).float()
    text = clip.encode_text(tokens(PROMPTS), normalize=True)
    for number, prompt in enumerate(PROMPTS):
        pictures = Inverter.from_pretrained(FOLDER, num_inference_steps=20, prompt=prompt).generate(noise)
        seen = (clip.encode_image(pictures, normalize=True) @ text.T).argmax(dim=1)
        assert int((seen == number).sum()) >= 7, "chance is a third"
