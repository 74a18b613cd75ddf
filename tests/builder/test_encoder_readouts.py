"""How each kind of transformers model is read out: one vector a picture, by what the model offers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionModelWithProjection,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    DeiTConfig,
    DeiTModel,
    DINOv3ViTModel,
    ResNetConfig,
    ResNetModel,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)

from noisezoo.builder.models.encoders import Encoder
from noisezoo.errors import UsageError
from tests.builder.encoder_folders import ENCODER_FOLDERS, pictures, pixels_by_transformers
from tests.builder.models import save_vit

BLOCK = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**BLOCK, "image_size": 16, "patch_size": 8}


def save(model: Any, folder: Path, processor: Any = None) -> Any:
    """A transformers folder of 16 pixels a side; the model that was saved, in evaluation mode."""
    model.save_pretrained(folder)
    (processor or ViTImageProcessor(size={"height": 16, "width": 16})).save_pretrained(folder)
    return model.eval()


def check(folder: Path, expect: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The folder's embedding is what `expect` makes of its pixels."""
    with torch.inference_mode():
        expected = expect(pixels_by_transformers(folder))
    found = Encoder.from_pretrained(folder, family="transformers").embed(pictures())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_transformer_with_a_trained_pooler_gives_its_pooled_output(tmp_path: Path) -> None:
    model = save_vit(tmp_path / "model", pooler=True)
    check(tmp_path / "model", lambda x: model(x).pooler_output)


def test_a_transformer_without_a_pooler_gives_the_mean_patch_and_no_random_pooler(tmp_path: Path) -> None:
    model = save_vit(tmp_path / "model", pooler=False)
    check(tmp_path / "model", lambda x: model(x).last_hidden_state[:, 1:].mean(dim=1))


def test_a_classifier_gives_its_trunk_s_mean_patch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = save(ViTForImageClassification(ViTConfig(**VISION)), tmp_path / "model")
    check(tmp_path / "model", lambda x: model.vit(x).last_hidden_state[:, 1:].mean(dim=1))


def test_a_pooler_without_parameters_needs_no_weights_and_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = SwinConfig(image_size=16, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
    model = save(SwinForImageClassification(config), tmp_path / "model")
    check(tmp_path / "model", lambda x: model.swin(x).last_hidden_state.mean(dim=1))


def test_the_mean_patch_leaves_out_a_distillation_token_as_well(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = save(DeiTModel(DeiTConfig(**VISION), add_pooling_layer=False), tmp_path / "model")
    check(tmp_path / "model", lambda x: model(x).last_hidden_state[:, 2:].mean(dim=1))


def test_register_tokens_are_no_part_of_an_embedding(tmp_path: Path) -> None:
    ENCODER_FOLDERS["dinov3-vit-l16"](tmp_path / "model")
    network = DINOv3ViTModel.from_pretrained(tmp_path / "model").eval()
    with torch.inference_mode():
        hidden = network(pixels_by_transformers(tmp_path / "model")).last_hidden_state
    assert hidden.shape[1] == 1 + 4 + 4, "the folder must have registers, or this shows nothing"
    found = Encoder.from_pretrained(tmp_path / "model").embed(pictures())
    assert not np.allclose(found, hidden[:, 1:].mean(dim=1), atol=1e-3)
    assert not np.allclose(found, hidden.mean(dim=1), atol=1e-3)


def test_clip_by_transformers_gives_its_projection_and_keeps_no_text_tower(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = {**BLOCK, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={**VISION, "projection_dim": 12}, projection_dim=12))
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    save(model, tmp_path / "model", processor)
    projected = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "model").eval()
    check(tmp_path / "model", lambda x: projected(x).image_embeds)
    kept = [name for name, _ in Encoder.from_pretrained(tmp_path / "model").model.named_parameters()]
    assert not any(name.startswith("text_") for name in kept)


def test_a_vision_tower_saved_with_its_projection_gives_the_projection(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig

    torch.manual_seed(0)
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=12))
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    save(tower, tmp_path / "model", processor)
    check(tmp_path / "model", lambda x: tower(x).image_embeds)
    untrained = Encoder.from_pretrained(tmp_path / "model", untrained_seed=3).embed(pictures())
    torch.manual_seed(3)
    start = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=12)).eval()
    with torch.inference_mode():
        expected = start(pixels_by_transformers(tmp_path / "model")).image_embeds
    np.testing.assert_allclose(untrained, expected, rtol=0, atol=1e-5)


def test_a_masked_autoencoder_sees_the_whole_picture_and_the_same_each_time(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = {f"decoder_{key}": value for key, value in BLOCK.items()}
    save(ViTMAEForPreTraining(ViTMAEConfig(**VISION, **decoder)), tmp_path / "model")
    # With nothing masked the library still shuffles the patches, which the mean over them does not see.
    whole = ViTMAEModel.from_pretrained(tmp_path / "model", mask_ratio=0.0).eval()
    check(tmp_path / "model", lambda x: whole(x).last_hidden_state[:, 1:].mean(dim=1))
    encoder = Encoder.from_pretrained(tmp_path / "model")
    assert np.array_equal(encoder.embed(pictures()), encoder.embed(pictures()))


def test_convolutional_networks_give_their_pooled_map_flat(tmp_path: Path) -> None:
    torch.manual_seed(0)
    residual = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))
    save(residual, tmp_path / "resnet")
    check(tmp_path / "resnet", lambda x: residual(x).last_hidden_state.mean(dim=(2, 3)))
    config = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], image_size=32)
    processor = ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875)
    model = save(ConvNextForImageClassification(config), tmp_path / "convnext", processor)
    check(tmp_path / "convnext", lambda x: model.convnext(x).pooler_output)


def test_a_model_that_wants_more_than_the_picture_is_refused_by_what_it_wants(tmp_path: Path) -> None:
    text = {**BLOCK, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = Siglip2Config(text_config=text, vision_config={**BLOCK, "patch_size": 8, "num_patches": 4})
    save(Siglip2Model(config), tmp_path / "model", Siglip2ImageProcessor(patch_size=8, max_num_patches=4))
    with pytest.raises(UsageError, match="Siglip2Model wants pixel_attention_mask, spatial_shapes beside the picture"):
        Encoder.from_pretrained(tmp_path / "model")


def test_tokens_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    save_vit(tmp_path / "model", pooler=False)
    encoder = Encoder.from_pretrained(tmp_path / "model")
    encoder.model.config.patch_size = 4
    with pytest.raises(UsageError, match="ViTModel gives 5 tokens, and which are patches cannot be told"):
        encoder.embed(pictures())


def test_pictures_that_the_preprocessing_leaves_at_different_sizes_are_refused(tmp_path: Path) -> None:
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, do_center_crop=False)
    save(ViTModel(ViTConfig(**VISION), add_pooling_layer=False), tmp_path / "model", processor)
    with pytest.raises(UsageError, match="leaves pictures at different sizes"):
        Encoder.from_pretrained(tmp_path / "model").embed(pictures())
