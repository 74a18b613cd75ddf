"""Decisions made from an image's id alone: which images belong to training, and which split the others fall in.

An id decides by its hash, so adding images to a source moves no image that is already there.
"""

import hashlib
from collections.abc import Mapping

FIRST_TRAINING_FACE = 1_000_000_000
"""Faces below this number are for datasets; from it on, they are for training the testbed's models."""

DIGITS_TRAINING_SHARE = 0.5
"""Share of the handwritten digits, by hash, that trained `digits-ddpm` and so is never in a dataset."""

SPLITS: Mapping[str, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}


def hash_unit(text: str) -> float:
    """A number in [0, 1) from SHA-256 of the text: uniform over texts, the same for ever."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def trained_on_digit(image_id: str) -> bool:
    """Whether this digit was among those that trained `digits-ddpm`."""
    return hash_unit(f"digits-ddpm/{image_id}") < DIGITS_TRAINING_SHARE


def split_of(group: str, seed: int) -> str:
    """The split of an image: a seeded hash of its id, or of its identity where the source has identities."""
    u = hash_unit(f"split/{seed}/{group}")
    for name, share in SPLITS.items():
        if u < share:
            return name
        u -= share
    return list(SPLITS)[-1]
