"""Captions of drawn faces, from their attributes, and the word tokenizer that reads them."""

import random

import numpy as np
from transformers import PreTrainedTokenizerFast

from noisezoo.builder.faces.factors import ATTRIBUTES, Factors

PHRASES = {
    "Smiling": "smiling", "Eyeglasses": "wearing eyeglasses", "Wearing_Hat": "wearing a hat",
    "Blond_Hair": "blond hair", "Black_Hair": "black hair", "Gray_Hair": "gray hair", "Bald": "bald",
    "Mustache": "a mustache", "Pale_Skin": "pale skin", "Rosy_Cheeks": "rosy cheeks", "Big_Nose": "a big nose",
    "Wearing_Lipstick": "wearing lipstick", "Bangs": "bangs", "Narrow_Eyes": "narrow eyes",
    "Bushy_Eyebrows": "bushy eyebrows", "Mouth_Slightly_Open": "an open mouth",
}  # fmt: skip


def captions(factors: Factors, seed: int) -> list[str]:
    """One sentence a face: what it has, in an order of its own."""
    rng = random.Random(seed)
    has = np.stack([factors[name] for name in ATTRIBUTES], axis=1)  # (n, attributes)
    texts = []
    for row in has:
        phrases = [PHRASES[name] for name, present in zip(ATTRIBUTES, row, strict=True) if present]
        rng.shuffle(phrases)
        texts.append("a face with " + " and ".join(phrases) if phrases else "a face")
    return texts


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; the end token has the highest id, which is where CLIP's text tower reads its summary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for phrase in (*PHRASES.values(), "a face with and") for word in phrase.split()})
    vocab = {token: i for i, token in enumerate(["<pad>", "<unk>", "<bos>", *words, "<eos>"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", vocab["<bos>"]), ("<eos>", vocab["<eos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )
