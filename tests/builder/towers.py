"""Small text towers with random weights, and tokenizers: CLIP's with its real vocabulary, T5's over single letters."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import transformers


@cache
def clip_vocabulary() -> tuple[dict[str, int], list[str]]:
    """CLIP's own 49,408 tokens and its merges, from the file that open_clip ships."""
    import open_clip.tokenizer

    lines = gzip.open(open_clip.tokenizer.default_bpe()).read().decode("utf-8").split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    return {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}, merges


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> Any:
    """CLIP's tokenizer with its real vocabulary; the second towers and SD 2 pad with an exclamation mark."""
    vocabulary, merges = clip_vocabulary()
    pairs = [tuple(merge.split()) for merge in merges]
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=77, pad_token=pad_token)


def clip_tower(width: int, *, projection: int | None = None, act: str = "quick_gelu") -> Any:
    """CLIP's text tower, with its projection where one is asked for; token ids in the config are the Hub's."""
    config = transformers.CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, projection_dim=projection or width, hidden_act=act,
        bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def t5_tokenizer(max_length: int) -> Any:
    """T5's tokenizer over single letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(letter, -3.0 - i / 100) for i, letter in enumerate("etaoinshrdlcumwfgypbvkjxqz")]
    return transformers.T5TokenizerFast(vocab=[*pieces, *letters], extra_ids=0, model_max_length=max_length)


def t5_tower(width: int) -> Any:
    """T5's encoder."""
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=64, d_model=width, d_kv=8, d_ff=2 * width, num_layers=1, num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip


def save_former_vocabulary(folder: Path) -> None:
    """A CLIP tokenizer as the Hub has it: a vocabulary and its merges in place of the library's one file."""
    if json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "CLIPTokenizer":
        vocabulary, merges = clip_vocabulary()
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
        (folder / "tokenizer.json").unlink()
