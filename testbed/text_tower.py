"""The text tower of `faces-clip` as transformers' `CLIPTextModel`, which Stable Diffusion pipelines condition on."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase

RENAMED = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
RENAMED_IN_LAYER = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def text_tower(folder: Path) -> CLIPTextModel:
    """The float32 text tower of an open_clip folder with GELU and a tokenizer of its own, without the projection."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    settings = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    config = CLIPTextConfig(
        vocab_size=settings["vocab_size"], hidden_size=settings["width"], intermediate_size=4 * settings["width"],
        num_hidden_layers=settings["layers"], num_attention_heads=settings["heads"], hidden_act="gelu",
        max_position_embeddings=settings["context_length"], bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = CLIPTextModel(config)
    weights = converted(load_file(folder / "open_clip_model.safetensors"))
    names = {name.removeprefix("text_model."): name for name in model.state_dict()}
    model.load_state_dict({names[name]: value.float() for name, value in weights.items()}, strict=True)
    return model.eval().requires_grad_(False)


def converted(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """open_clip's text weights under transformers' names, the joint q, k, v projection taken apart."""
    found = {RENAMED[name]: value for name, value in weights.items() if name in RENAMED}
    for name, value in weights.items():
        if not name.startswith("transformer.resblocks."):
            continue
        _, _, layer, rest = name.split(".", 3)
        prefix = f"encoder.layers.{layer}."
        if rest.startswith("attn.in_proj_"):
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                found[f"{prefix}self_attn.{part}_proj.{rest.removeprefix('attn.in_proj_')}"] = piece
        else:
            module, kind = rest.rsplit(".", 1)
            found[f"{prefix}{RENAMED_IN_LAYER[module]}.{kind}"] = value
    return found


def prompt_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, told the length that prompts are padded to."""
    settings = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    return AutoTokenizer.from_pretrained(folder, model_max_length=settings["context_length"])
