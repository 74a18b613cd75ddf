"""Encoders against their own libraries."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessor, ViTModel

from noisezoo.builder.encoder import Encoder
from noisezoo.errors import UsageError
from tests.builder.models import save_open_clip, save_vit


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    save_open_clip(root / "clip")
    save_vit(root / "pooled", pooler=True)
    save_vit(root / "plain", pooler=False)
    return {path.name: path for path in root.iterdir()}


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in [(16, 16), (40, 25), (9, 31)]]


def test_an_open_clip_embedding_is_open_clip_s_own_before_normalisation(folders: dict[str, Path]) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folders['clip']}")
    with torch.inference_mode():
        expected = model.eval().encode_image(torch.stack([preprocess(image) for image in pictures()])).numpy()
    found = Encoder.from_pretrained(folders["clip"]).embed(pictures())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert (np.abs(np.linalg.norm(found, axis=1) - 1) > 0.01).all(), "embeddings must stay raw"


def hidden_states(folder: Path, pooler: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    pixels = ViTImageProcessor.from_pretrained(folder)(images=pictures(), return_tensors="pt").pixel_values
    with torch.inference_mode():
        output = ViTModel.from_pretrained(folder, add_pooling_layer=pooler).eval()(pixels)
    return output.last_hidden_state, output.pooler_output


def test_a_transformer_with_a_pooler_gives_its_pooled_output(folders: dict[str, Path]) -> None:
    _, pooled = hidden_states(folders["pooled"], True)
    assert pooled is not None
    np.testing.assert_allclose(Encoder.from_pretrained(folders["pooled"]).embed(pictures()), pooled, rtol=0, atol=1e-5)


def test_a_transformer_without_a_pooler_gives_the_mean_patch_and_no_random_pooler(folders: dict[str, Path]) -> None:
    hidden, _ = hidden_states(folders["plain"], False)
    found = Encoder.from_pretrained(folders["plain"]).embed(pictures())
    np.testing.assert_allclose(found, hidden[:, 1:].mean(dim=1), rtol=0, atol=1e-5)


def test_the_untrained_transformer_is_read_out_as_the_trained_one_is(folders: dict[str, Path]) -> None:
    # The same random start that was saved, so that equal numbers mean the same read-out and nothing else.
    torch.manual_seed(3)
    from transformers import ViTConfig

    network = ViTModel(ViTConfig.from_pretrained(folders["plain"]), add_pooling_layer=False).eval()
    pixels = ViTImageProcessor.from_pretrained(folders["plain"])(images=pictures(), return_tensors="pt").pixel_values
    with torch.inference_mode():
        expected = network(pixels).last_hidden_state[:, 1:].mean(dim=1)
    found = Encoder.from_pretrained(folders["plain"], untrained_seed=3).embed(pictures())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "plain", "pooled"])
def test_an_untrained_encoder_follows_its_seed_and_is_not_the_trained_one(folders: dict[str, Path], name: str) -> None:
    trained = Encoder.from_pretrained(folders[name]).embed(pictures())
    first, again, other = (
        Encoder.from_pretrained(folders[name], untrained_seed=s).embed(pictures()) for s in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)
    assert not np.allclose(first, trained, atol=1e-3)


def test_any_mode_of_picture_is_embedded_as_its_rgb(folders: dict[str, Path]) -> None:
    encoder = Encoder.from_pretrained(folders["clip"])
    grey = pictures()[1].convert("L")
    assert np.array_equal(encoder.embed([grey]), encoder.embed([grey.convert("RGB")]))


def test_one_picture_embeds_as_it_does_among_others(folders: dict[str, Path]) -> None:
    encoder = Encoder.from_pretrained(folders["plain"])
    together = encoder.embed(pictures())
    np.testing.assert_allclose(together, np.concatenate([encoder.embed([p]) for p in pictures()]), rtol=0, atol=1e-5)


def test_a_folder_of_no_encoder_and_an_unknown_family_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not an encoder's folder: it has none of open_clip_config.json, config.json"):
        Encoder.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="unknown encoder family 'timm'"):
        Encoder.from_pretrained(folders["clip"], family="timm")


def test_a_folder_whose_weights_are_gone_is_refused_in_one_line(tmp_path: Path) -> None:
    save_vit(tmp_path / "model", pooler=False)
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="cannot be loaded by transformers") as caught:
        Encoder.from_pretrained(tmp_path / "model")
    assert "\n" not in str(caught.value)
