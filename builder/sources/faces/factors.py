"""What decides a drawn face: binary attributes and continuous nuisances, each from its own fixed random slot.

Because every factor owns a slot of the face's random stream, one attribute can be changed with all else equal
(a counterfactual pair), and adding a factor at the end of a table changes no existing face.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noisezoo.errors import UsageError

Factors = dict[str, np.ndarray]

ATTRIBUTES: Mapping[str, float] = {
    "Smiling": 0.5, "Eyeglasses": 0.4, "Wearing_Hat": 0.3, "Blond_Hair": 0.35, "Black_Hair": 0.35, "Gray_Hair": 0.35,
    "Bald": 0.25, "Mustache": 0.4, "Pale_Skin": 0.4, "Rosy_Cheeks": 0.4, "Big_Nose": 0.5, "Wearing_Lipstick": 0.4,
    "Bangs": 0.4, "Narrow_Eyes": 0.4, "Bushy_Eyebrows": 0.5, "Mouth_Slightly_Open": 0.4,
}  # fmt: skip
"""Rates, balanced where a drawing allows it. Hair colours may co-occur (locks of each colour): all are independent."""

NUISANCES: Mapping[str, tuple[float, float]] = {
    "roll": (-0.07, 0.07),  # tangent of half the head's tilt
    "turn": (-1.0, 1.0), "nod": (-1.0, 1.0),
    "scale": (0.93, 1.08), "shift_x": (-0.07, 0.07), "shift_y": (-0.05, 0.05),
    "face_width": (0.92, 1.08), "skin_tone": (0.0, 1.0),
    "hair_shade": (0.0, 1.0), "hair_length": (0.0, 1.0),
    "eye_color": (0.0, 1.0), "gaze": (-1.0, 1.0),
    "mouth_width": (0.9, 1.1), "mouth_rest": (-1.0, 0.2),
    "frame_shade": (0.0, 0.35),
    "light_x": (-1.0, 1.0), "light_y": (-1.0, 1.0), "exposure": (0.88, 1.08),
    "gradient_x": (-1.0, 1.0), "gradient_y": (-1.0, 1.0),
    "background_r": (0.15, 0.95), "background_g": (0.15, 0.95), "background_b": (0.15, 0.95),
    "contrast_r": (-0.25, 0.25), "contrast_g": (-0.25, 0.25), "contrast_b": (-0.25, 0.25),
    "shirt_r": (0.1, 0.9), "shirt_g": (0.1, 0.9), "shirt_b": (0.1, 0.9),
    "hat_r": (0.1, 0.9), "hat_g": (0.1, 0.9), "hat_b": (0.1, 0.9),
}  # fmt: skip
"""Uniform ranges, in the units the renderer uses (face coordinates run from -1 to 1 across the picture)."""

PHRASES = {
    "Smiling": "smiling", "Eyeglasses": "wearing eyeglasses", "Wearing_Hat": "wearing a hat",
    "Blond_Hair": "blond hair", "Black_Hair": "black hair", "Gray_Hair": "gray hair", "Bald": "bald",
    "Mustache": "a mustache", "Pale_Skin": "pale skin", "Rosy_Cheeks": "rosy cheeks", "Big_Nose": "a big nose",
    "Wearing_Lipstick": "wearing lipstick", "Bangs": "bangs", "Narrow_Eyes": "narrow eyes",
    "Bushy_Eyebrows": "bushy eyebrows", "Mouth_Slightly_Open": "an open mouth",
}  # fmt: skip
"""What a caption says of a face that has the attribute."""


@dataclass(frozen=True)
class Correlation:
    """A planted spurious correlation: `phi` is the wanted correlation coefficient of two binary attributes."""

    first: str
    second: str
    phi: float


def uniforms(indices: Sequence[int], seed: int) -> np.ndarray:
    """Uniform [0, 1) numbers of each face, one column a factor: (n, attributes + nuisances + attributes), float64.

    The stream is SHAKE-256 of the seed and the index, so it is the same on every machine and library version. The
    last block decides, for each attribute, whether it follows another one it is correlated with.
    """
    width = 2 * len(ATTRIBUTES) + len(NUISANCES)
    digests = [hashlib.shake_256(f"noisezoo-faces/{seed}/{index}".encode()).digest(8 * width) for index in indices]
    words = np.frombuffer(b"".join(digests), dtype="<u8").reshape(len(digests), width)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def face_factors(indices: Sequence[int], *, seed: int = 0, correlations: Sequence[Correlation] = ()) -> Factors:
    """All factors of the faces: attributes as bool (n,), nuisances as float64 (n,).

    Args:
        indices: Face numbers, each the identity of one face for ever.
        seed: The world the faces are drawn from.
        correlations: Pairs of attributes to tie together, each attribute in one pair at most; every other pair stays
            independent.

    Raises:
        UsageError: An attribute does not exist or is in two pairs, or no joint distribution with those rates reaches
            that `phi`.
    """
    tied = Counter(name for c in correlations for name in {c.first, c.second})
    for name in (name for name, count in tied.items() if count > 1):  # a chain would tie pairs that nobody named
        raise UsageError(f"{name} is in two correlations, which would tie pairs that were not named: plant one of them")
    u = uniforms(indices, seed)  # (n, slots)
    m = len(ATTRIBUTES)
    rank = dict(zip(ATTRIBUTES, u[:, :m].T, strict=True))
    follow = dict(zip(ATTRIBUTES, u[:, m + len(NUISANCES) :].T, strict=True))
    for c in correlations:
        share = follow_share(c)
        leader = rank[c.first] if c.phi >= 0 else 1.0 - rank[c.first]
        rank[c.second] = np.where(follow[c.second] < share, leader, rank[c.second])
    factors: Factors = {name: rank[name] < rate for name, rate in ATTRIBUTES.items()}
    for (name, (low, high)), column in zip(NUISANCES.items(), u[:, m:].T, strict=False):
        factors[name] = low + (high - low) * column
    return factors


def follow_share(c: Correlation) -> float:
    """Share of faces whose second attribute must follow the first for their correlation to be `c.phi`.

    Following makes the two comonotone, whose phi is the Frechet bound (min(p, q) - pq) / sqrt(p(1-p)q(1-q)) (or its
    lower counterpart for negative phi); mixing with independence scales phi linearly.
    """
    for name in (c.first, c.second):
        if name not in ATTRIBUTES:
            raise UsageError(f"faces has no attribute {name!r}; choose two of: {', '.join(ATTRIBUTES)}")
    p, q = ATTRIBUTES[c.first], ATTRIBUTES[c.second]
    joint = min(p, q) if c.phi >= 0 else max(0.0, p + q - 1.0)
    bound = (joint - p * q) / (p * (1 - p) * q * (1 - q)) ** 0.5
    if c.first == c.second or abs(c.phi) > abs(bound):
        raise UsageError(
            f"{c.first} and {c.second} cannot have correlation {c.phi}: with rates {p} and {q} the limit is {bound:.2f}"
        )
    return float(c.phi / bound)


def toggled(factors: Factors, attribute: str, value: bool | None = None) -> Factors:
    """The same faces with one attribute flipped (or set to `value`) and all else equal: counterfactual partners."""
    if attribute not in ATTRIBUTES:
        raise UsageError(f"faces has no attribute {attribute!r}; choose one of: {', '.join(ATTRIBUTES)}")
    old = factors[attribute]
    return {**factors, attribute: ~old if value is None else np.full_like(old, value)}


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
