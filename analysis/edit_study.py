"""Regenerate edited noise and measure what changed: another view's probes are the judge, a pixel overlay the control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.editing import Edit, make_edit, most_entangled, orthogonal_edit
from noisezoo.analysis.intervals import Interval, mean_intervals
from noisezoo.analysis.probes import Probes, fit_probes

Floats = NDArray[np.floating]
Images = NDArray[np.floating]
Generate = Callable[[Floats], Images]
"""Noise rows (b, d) -> pictures (b, 3, h, w) in [-1, 1]."""
Embed = Callable[[Images], Floats]
"""Pictures (b, 3, h, w) in [-1, 1] -> the judge's embeddings (b, e)."""
NOISE, ORTHOGONAL, OVERLAY = "noise", "noise, orthogonalised", "pixel overlay"


@dataclass(frozen=True)
class Space:
    """One view as the study needs it: rows (n, d), and the probes fitted on its training rows."""

    name: str
    X: Floats
    probes: Probes


@dataclass(frozen=True)
class Strip:
    """One edit at every strength: pictures (strengths, faces, 3, h, w), and one record a strength."""

    attribute: str
    variant: str
    against: tuple[str, ...]
    strengths: tuple[float, ...]
    images: Images
    records: list[dict[str, Any]]


def fit_space(name: str, X: Floats, Y: NDArray[Any], train: NDArray[np.bool_]) -> Space:
    """Probes of every attribute of Y (n, k) on the training rows of a view X (n, d)."""
    return Space(name, X, fit_probes(X[train], Y[train]))


def edit_study(
    attributes: Sequence[str],
    names: Sequence[str],
    *,
    noise: Space,
    pixels: Space,
    judge: Space,
    faces: Mapping[str, NDArray[np.intp]],
    train: NDArray[np.bool_],
    picture_shape: tuple[int, int, int],
    generate: Generate,
    embed: Embed,
    strengths: Sequence[float] = (0.0, 1.0, 2.0, 4.0),
) -> list[Strip]:
    """Each attribute edited three ways: along the noise's probe, the same orthogonalised, and by a pixel overlay.

    The overlay adds the attribute's direction in *pixel* space to the picture, with no model: what an edit of noise
    must beat to be more than that. It is orthogonalised against nothing.

    Args:
        attributes: What to edit.
        names: (k,) attributes of the probes.
        noise: The generative model's noise.
        pixels: The pictures themselves, rows flattened from `picture_shape`.
        judge: Another view, whose probes say what a regenerated picture shows.
        faces: Attribute -> rows to edit, which lack it.
        train: (n,) the rows the probes were fitted on, which also give the scale of a direction.
        picture_shape: (3, h, w).
        generate: From noise rows to pictures.
        embed: From pictures to the judge's rows.
        strengths: In projected standard deviations; the first must be 0, the reference of every change.

    Returns:
        Strips, attribute by attribute.
    """
    strips = []
    for attribute in attributes:
        rows = faces[attribute]
        plain = make_edit(attribute, names, noise.probes, noise.X[train])
        other, _ = most_entangled(attribute, names, noise.probes, noise.X[train])
        rival = make_edit(other, names, noise.probes, noise.X[train])
        overlay = make_edit(attribute, names, pixels.probes, pixels.X[train])

        def picture(X: Floats) -> Images:
            return np.clip(X.reshape(-1, *picture_shape), -1, 1)

        variants: list[tuple[str, Edit, Floats, Generate]] = [
            (NOISE, plain, noise.X[rows], generate),
            (ORTHOGONAL, orthogonal_edit(plain, rival, noise.X[train]), noise.X[rows], generate),
            (OVERLAY, overlay, pixels.X[rows], picture),
        ]
        for variant, edit, X, render in variants:
            edited = [edit.apply(X, strength) for strength in strengths]
            images = np.stack([render(rows_at) for rows_at in edited])
            records = _measure(edit, names, judge.probes, images, embed, edited, strengths)
            strips.append(Strip(attribute, variant, edit.against, tuple(strengths), images, records))
    return strips


def _measure(
    edit: Edit, names: Sequence[str], judge: Probes, images: Images, embed: Embed, edited: Sequence[Floats],
    strengths: Sequence[float],
) -> list[dict[str, Any]]:  # fmt: skip
    """What the judge sees at each strength: the target's probability, and how many other attributes it sees flipped."""
    target = list(names).index(edit.attribute)
    p = np.stack([judge.predict_proba(embed(pictures)) for pictures in images])  # (strengths, faces, k)
    flipped = np.delete((p > 0.5) != (p[:1] > 0.5), target, axis=2).mean(axis=2)  # (strengths, faces)
    shell = np.linalg.norm(np.stack(edited), axis=2)  # (strengths, faces)
    return [
        {
            "attribute": edit.attribute,
            "against": list(edit.against),
            "strength": float(strength),
            "judged": _interval(p[i, :, target]).to_dict(),
            "collateral": _interval(flipped[i]).to_dict(),
            "norm_ratio": float((shell[i] / shell[0]).mean()),
        }
        for i, strength in enumerate(strengths)
    ]


def _interval(values: Floats) -> Interval:
    """Mean over faces with its bootstrap interval."""
    return mean_intervals(np.asarray(values, dtype=np.float64)[:, None])[0]
