"""Captions of drawn faces, from their attributes."""

import random

import numpy as np

from noisezoo.builder.sources.faces.factors import ATTRIBUTES, Factors

PHRASES = {
    "Smiling": "smiling", "Eyeglasses": "wearing eyeglasses", "Wearing_Hat": "wearing a hat",
    "Blond_Hair": "blond hair", "Black_Hair": "black hair", "Gray_Hair": "gray hair", "Bald": "bald",
    "Mustache": "a mustache", "Pale_Skin": "pale skin", "Rosy_Cheeks": "rosy cheeks", "Big_Nose": "a big nose",
    "Wearing_Lipstick": "wearing lipstick", "Bangs": "bangs", "Narrow_Eyes": "narrow eyes",
    "Bushy_Eyebrows": "bushy eyebrows", "Mouth_Slightly_Open": "an open mouth",
}  # fmt: skip


def captions(factors: Factors, seed: int | None = None) -> list[str]:
    """One sentence a face, saying what it has: in the order of `ATTRIBUTES`, or shuffled by `seed` as for training."""
    rng = random.Random(seed)
    has = np.stack([factors[name] for name in ATTRIBUTES], axis=1)  # (n, attributes)
    texts = []
    for row in has:
        phrases = [PHRASES[name] for name, present in zip(ATTRIBUTES, row, strict=True) if present]
        if seed is not None:
            rng.shuffle(phrases)
        texts.append("a face with " + " and ".join(phrases) if phrases else "a face")
    return texts
