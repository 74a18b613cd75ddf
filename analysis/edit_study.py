"""Regenerate edited noise and measure what changed: another view judges, and a pixel overlay is the control."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.editing import Edit, make_edit, most_entangled, orthogonal_edit
from noisezoo.analysis.intervals import mean_intervals
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
    """One view as a study needs it: all rows X (n, d), its training rows, and the probes fitted on those."""

    X: Floats
    train: Floats
    probes: Probes


def fit_space(X: Floats, Y: NDArray[Any], train: NDArray[np.bool_]) -> Space:
    """Probes of every attribute of Y (n, k) on the training rows of a view X (n, d)."""
    return Space(X, X[train], fit_probes(X[train], Y[train]))


@dataclass(frozen=True)
class Strip:
    """One edit at every strength: pictures (strengths, faces, 3, h, w), and one record a strength."""

    attribute: str
    variant: str
    against: tuple[str, ...]
    strengths: tuple[float, ...]
    images: Images
    records: list[dict[str, Any]]


@dataclass(frozen=True)
class Study:
    """What an edit is made with and judged by.

    Attributes:
        names: (k,) attributes of the probes.
        noise: The generative model's noise.
        pixels: The pictures themselves, rows flattened from `picture_shape`.
        judge: Probes of another view, which say what a regenerated picture shows.
        picture_shape: (3, h, w).
        generate: From noise rows to pictures.
        embed: From pictures to the judge's rows.
        strengths: In projected standard deviations; the first must be 0, the reference of every change.
    """

    names: Sequence[str]
    noise: Space
    pixels: Space
    judge: Probes
    picture_shape: tuple[int, int, int]
    generate: Generate
    embed: Embed
    strengths: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)

    def strips(self, attribute: str, rows: NDArray[np.intp]) -> list[Strip]:
        """One attribute edited three ways on `rows`, which should lack it.

        Along the noise's probe; the same with its most entangled attribute taken out; and by a pixel overlay, which
        adds the attribute's direction in *pixel* space to the picture, with no model: what an edit of noise must beat.
        """
        plain = make_edit(attribute, self.names, self.noise.probes, self.noise.train)
        other = most_entangled(attribute, self.names, self.noise.probes, self.noise.train)[0]
        rival = make_edit(other, self.names, self.noise.probes, self.noise.train)
        orthogonal = orthogonal_edit(plain, rival, self.noise.train)
        overlay = make_edit(attribute, self.names, self.pixels.probes, self.pixels.train)
        Z, P = self.noise.X[rows], self.pixels.X[rows]
        unedited = self.generate(Z)
        return [
            self._strip(NOISE, plain, Z, self.generate, unedited),
            self._strip(ORTHOGONAL, orthogonal, Z, self.generate, unedited),
            self._strip(OVERLAY, overlay, P, self._picture, self._picture(P)),
        ]

    def _picture(self, X: Floats) -> Images:
        return np.asarray(np.clip(X.reshape(-1, *self.picture_shape), -1, 1))

    def _strip(self, variant: str, edit: Edit, X: Floats, render: Generate, unedited: Images) -> Strip:
        edited = [edit.apply(X, strength) for strength in self.strengths]
        made = render(np.concatenate(edited[1:]))  # one large batch is faster than one a strength
        images = np.concatenate([unedited[None], made.reshape(-1, *unedited.shape)])  # (strengths, faces, 3, h, w)
        records = self._measure(edit, images, np.stack(edited))
        return Strip(edit.attribute, variant, edit.against, self.strengths, images, records)

    def _measure(self, edit: Edit, images: Images, edited: Floats) -> list[dict[str, Any]]:
        """What the judge sees at each strength: the target's probability, and the other attributes it sees flipped."""
        target = list(self.names).index(edit.attribute)
        p = np.stack([self.judge.predict_proba(self.embed(pictures)) for pictures in images])  # (strengths, faces, k)
        flipped = np.delete((p > 0.5) != (p[:1] > 0.5), target, axis=2).mean(axis=2)  # (strengths, faces)
        shell = np.linalg.norm(edited, axis=2)  # (strengths, faces)
        judged = mean_intervals(p[:, :, target].T)
        collateral = mean_intervals(flipped.T)
        return [
            {
                "attribute": edit.attribute,
                "against": list(edit.against),
                "strength": strength,
                "judged": judged[i].to_dict(),
                "collateral": collateral[i].to_dict(),
                "norm_ratio": float((shell[i] / shell[0]).mean()),
            }
            for i, strength in enumerate(self.strengths)
        ]
