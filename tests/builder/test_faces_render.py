"""The renderer: the same face is the same bytes, at any size the same geometry, and every attribute can be seen."""

from hashlib import sha256

import numpy as np
import pytest

from noisezoo.builder.sources.faces import Faces
from noisezoo.builder.sources.faces.factors import ATTRIBUTES, face_factors, toggled
from noisezoo.builder.sources.faces.render import render

GOLDEN = {
    32: "daf75ae8a94ba8c5ce444461f6261921759d795fafdba7422ccf0075453fe33a",
    64: "1b09b3810ce87163a7f4ec81d3782f827f028ba00a3e75e5cfe296fcf91fc991",
}
"""sha256 of faces 0 to 7. A change here changes every dataset of drawn faces and unfits every shipped model."""

REGIONS = {
    "Smiling": (0.60, 0.95, 0.15, 0.85), "Eyeglasses": (0.33, 0.66, 0.05, 0.95), "Wearing_Hat": (0.0, 0.45, 0.0, 1.0),
    "Mustache": (0.52, 0.82, 0.20, 0.80), "Rosy_Cheeks": (0.45, 0.85, 0.08, 0.92), "Big_Nose": (0.45, 0.78, 0.25, 0.75),
    "Wearing_Lipstick": (0.58, 0.95, 0.15, 0.85), "Bangs": (0.08, 0.50, 0.15, 0.85),
    "Narrow_Eyes": (0.36, 0.62, 0.12, 0.88), "Bushy_Eyebrows": (0.24, 0.52, 0.12, 0.88),
    "Mouth_Slightly_Open": (0.58, 0.95, 0.20, 0.80),
}  # fmt: skip
"""Where on the picture an attribute is: top, bottom, left, right, as shares of the side. The others are all over."""


def pixels(size: int, numbers: range | list[int]) -> np.ndarray:
    return render(face_factors(numbers), size)


@pytest.mark.parametrize("size", [32, 64])
def test_the_bytes_of_eight_faces_are_those_ever_drawn(size: int) -> None:
    assert sha256(pixels(size, range(8)).tobytes()).hexdigest() == GOLDEN[size]


def test_a_face_is_the_same_bytes_in_any_batch_and_order() -> None:
    together = pixels(32, range(70))  # more than one chunk of the renderer
    assert np.array_equal(together[::-1], pixels(32, list(range(69, -1, -1))))
    assert np.array_equal(together[66:67], pixels(32, [66]))
    assert np.array_equal(together[[5, 68, 5]], pixels(32, [5, 68, 5]))
    assert len(np.unique(together.reshape(70, -1), axis=0)) == 70


def test_the_source_s_batches_and_single_images_are_the_same_faces() -> None:
    source = Faces(size=32)
    batch = source.images(["3", "900000000"])
    for key, image in zip(["3", "900000000"], batch, strict=True):
        assert not isinstance(image, Exception)
        assert image.tobytes() == source.picture(key).tobytes()


def test_another_seed_is_another_world() -> None:
    assert not np.array_equal(render(face_factors([0], seed=1)), render(face_factors([0], seed=0)))


@pytest.mark.parametrize("size", [8, 33, 128])
def test_any_size_can_be_drawn(size: int) -> None:
    assert pixels(size, [0, 1]).shape == (2, size, size, 3)


def test_a_large_face_made_small_is_the_small_face() -> None:
    large = pixels(128, range(16)).astype(float).reshape(16, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    small = pixels(32, range(16)).astype(float)
    error = np.abs(large - small).mean(axis=(1, 2, 3))
    other = np.abs(large - np.roll(small, 1, axis=0)).mean(axis=(1, 2, 3))
    assert error.max() < 4
    assert (error < other / 5).all()


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_toggling_an_attribute_changes_no_other_factor(attribute: str) -> None:
    factors = face_factors(range(20))
    flipped = toggled(factors, attribute)
    assert np.array_equal(flipped[attribute], ~factors[attribute])
    assert all(np.array_equal(flipped[name], factors[name]) for name in factors if name != attribute)
    assert np.array_equal(toggled(flipped, attribute)[attribute], factors[attribute])
    assert toggled(factors, attribute, True)[attribute].all()


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_attribute_can_be_seen_on_every_face(attribute: str) -> None:
    factors = face_factors(range(96))
    change = np.abs(render(toggled(factors, attribute)).astype(int) - render(factors).astype(int))
    visible = (change.max(axis=3) > 12).sum(axis=(1, 2))  # pixels that differ plainly
    assert visible.min() >= 4, f"face {visible.argmin()} hides it"


@pytest.mark.parametrize("attribute", REGIONS)
def test_an_attribute_changes_the_picture_only_where_it_belongs(attribute: str) -> None:
    factors = face_factors(range(48))
    change = np.abs(render(toggled(factors, attribute), 64).astype(float) - render(factors, 64).astype(float)).sum(
        axis=3
    )
    top, bottom, left, right = (round(64 * share) for share in REGIONS[attribute])
    inside = change[:, top:bottom, left:right].sum(axis=(1, 2)) / change.sum(axis=(1, 2))
    assert inside.min() > 0.95
