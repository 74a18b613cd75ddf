"""Regenerate edited noise and measure what changed: another view judges, and a pixel overlay is the control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.edits.directions import PROBE, carry_back, carry_back_probes, directions_on
from noisezoo.analysis.edits.edit import Edit, edit_along, make_edit, most_entangled, orthogonal_edit
from noisezoo.analysis.edits.measures import Embed, Images, look, measure
from noisezoo.analysis.edits.shell import fit_shell, to_shell
from noisezoo.analysis.probes import Probes, fit_probes
from noisezoo.pca import Basis

Floats = NDArray[np.floating]
Generate = Callable[[Floats], Images]
"""Noise rows (b, d) -> pictures (b, 3, h, w) in [-1, 1]."""
NOISE, ORTHOGONAL, OVERLAY = "noise", "noise, orthogonalised", "pixel overlay"
ALL_OTHERS, ON_SHELL, SHUFFLED = "noise, orthogonalised to all", "noise, on its shell", "shuffled labels"
LOG_ODDS, JUDGE_SD = "log-odds", "standard deviations of the judge's logit"
SHOWN = (NOISE, ORTHOGONAL, OVERLAY)
"""What every strip of pictures shows."""


@dataclass(frozen=True)
class Space:
    """One view as a study needs it: all rows X (n, d), its training rows, and the probes fitted on those.

    `labels` (m, k) of the training rows make directions of other kinds, each when it is first asked for.
    """

    X: Floats
    train: Floats
    probes: Probes
    labels: NDArray[Any] | None = None
    basis: Basis | None = None
    made: dict[str, Floats] = field(default_factory=dict)  # kind -> (d, k)

    @property
    def logit_scale(self) -> Floats:
        """Standard deviations (k,) of the probes' logits over the training rows."""
        return np.asarray((self.train @ self.probes.coef.astype(self.train.dtype)).std(axis=0, dtype=np.float64))

    def directions(self, kind: str) -> Floats:
        """Directions (d, k) of one of `directions.MAKERS`, made on the training rows."""
        if kind not in self.made:
            if self.labels is None:
                raise ValueError(f"directions of kind {kind!r} need the training rows' labels: use fit_space")
            self.made[kind] = carry_back(directions_on(_scores(self.train, self.basis), self.labels, kind), self.basis)
        return self.made[kind]


def fit_space(X: Floats, Y: NDArray[Any], train: NDArray[np.bool_], *, basis: Basis | None = None) -> Space:
    """Probes of every attribute of Y (n, k) on the training rows of a view X (n, d).

    With a `basis` of the view, probes and all other directions are made on its principal scores and carried back.
    """
    probes = carry_back_probes(fit_probes(_scores(X[train], basis), Y[train]), basis)
    return Space(X, X[train], probes, Y[train], basis, {PROBE: probes.coef})


def _scores(X: Floats, basis: Basis | None) -> Floats:
    return X if basis is None else basis.transform(X)


@dataclass(frozen=True)
class Strip:
    """One edit at every strength: pictures (strengths, faces, 3, h, w), and one record a strength."""

    attribute: str
    variant: str
    against: tuple[str, ...]
    strengths: tuple[float, ...]
    images: Images
    records: list[dict[str, Any]]
    kind: str = PROBE
    rows: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))  # (faces,) of the view
    changes: Floats = field(default_factory=lambda: np.empty((0, 0, 0)))  # (strengths, faces, k) of judge's logits


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
        seed: Of resamples and shuffled labels.
        judge_scale: (k,) what the judge's logits are measured in: `logit_scale` of its space, without which changes
            are log-odds, and those of attributes that it separates well dwarf the others'.
    """

    names: Sequence[str]
    noise: Space
    pixels: Space
    judge: Probes
    picture_shape: tuple[int, int, int]
    generate: Generate
    embed: Embed
    strengths: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    seed: int = 42
    judge_scale: Floats | None = None

    @property
    def unit(self) -> str:
        """Of a change of a logit."""
        return LOG_ODDS if self.judge_scale is None else JUDGE_SD

    @cached_property
    def shuffled(self) -> Space:
        """The noise with its labels in another order: directions that mean nothing, made like those that should."""
        labels = self.noise.labels
        if labels is None:
            raise ValueError("shuffled labels need the training rows' labels: use fit_space")
        order = np.random.default_rng([self.seed, 4]).permutation(len(labels))
        return replace(self.noise, labels=labels[order], made={})

    def strips(
        self,
        attribute: str,
        rows: NDArray[np.intp],
        *,
        kinds: Sequence[str] = (PROBE,),
        variants: Sequence[str] = SHOWN,
    ) -> list[Strip]:
        """One attribute edited in several ways on `rows`, which should lack it.

        By default along the noise's probe; the same with its most entangled attribute taken out; and by a pixel
        overlay, which adds the attribute's direction in *pixel* space to the picture, with no model: what an edit of
        noise must beat. `kinds` are of `directions.MAKERS`, `variants` of `VARIANTS`.

        Raises:
            ValueError: strengths that do not begin with 0, fewer than 2 rows, or an unknown kind or variant.
        """
        unknown = [variant for variant in variants if variant not in VARIANTS]
        if unknown:
            raise ValueError(f"no variant {', '.join(unknown)}; choose among: {', '.join(VARIANTS)}")
        if len(self.strengths) < 2 or self.strengths[0] != 0:
            raise ValueError(f"strengths must begin with 0, the unedited reference, not {self.strengths}")
        if len(rows) < 2:
            raise ValueError(f"the edit of {attribute!r} needs at least 2 faces for an interval, not {len(rows)}")
        unedited: dict[Generate, Images] = {}
        return [self._strip(attribute, kind, variant, rows, unedited) for kind in kinds for variant in variants]

    def picture(self, X: Floats) -> Images:
        """Pixel rows (b, d) as pictures in [-1, 1]."""
        return np.asarray(np.clip(X.reshape(-1, *self.picture_shape), -1, 1))

    def _strip(
        self, attribute: str, kind: str, variant: str, rows: NDArray[np.intp], unedited: dict[Generate, Images]
    ) -> Strip:
        how = VARIANTS[variant]
        space, render = how.medium(self)
        edit = self._edit(attribute, kind, how.against(self, space, attribute), space)
        X = space.X[rows]
        edited = np.stack([how.finish(edit.apply(X, strength), X) for strength in self.strengths])
        if render not in unedited:  # pictures through a model are dear: once for all edits of these rows
            unedited[render] = render(X)
        made = render(np.concatenate(edited[1:]))  # one large batch is faster than one a strength
        images = np.concatenate([unedited[render][None], made.reshape(-1, *unedited[render].shape)])
        seen = look(images, self.embed, self.judge, self.judge_scale)
        measured = measure(seen, list(self.names).index(attribute), edited, fit_shell(space.train), seed=self.seed)
        facts = {"attribute": attribute, "kind": kind, "against": list(edit.against)}
        records = [{**facts, "strength": s, **row} for s, row in zip(self.strengths, measured, strict=True)]
        return Strip(attribute, variant, edit.against, self.strengths, images, records, kind, rows, seen.changes)

    def _edit(self, attribute: str, kind: str, against: Sequence[str], space: Space) -> Edit:
        """Along the kind's direction, with the *probes* of others taken out: those read, whatever the kind."""
        plain = edit_along(attribute, space.directions(kind)[:, list(self.names).index(attribute)], space.train)
        readers = [make_edit(name, self.names, space.probes, space.train) for name in against]
        return orthogonal_edit(plain, readers, space.train)


def _nothing(study: Study, space: Space, attribute: str) -> list[str]:
    return []


def _most_entangled(study: Study, space: Space, attribute: str) -> list[str]:
    return [most_entangled(attribute, study.names, space.probes, space.train)[0]] if len(study.names) > 1 else []


def _all_others(study: Study, space: Space, attribute: str) -> list[str]:
    return [name for name in study.names if name != attribute]


def _leave(edited: Floats, X: Floats) -> Floats:
    return edited


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to edit: in which medium and how that is shown, which attributes are taken out, and what is done last."""

    medium: Callable[[Study], tuple[Space, Generate]]
    against: Callable[[Study, Space, str], list[str]] = _nothing
    finish: Callable[[Floats, Floats], Floats] = _leave  # edited rows, rows before -> rows


def _noise(study: Study) -> tuple[Space, Generate]:
    return study.noise, study.generate


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        NOISE: Variant(_noise),
        ORTHOGONAL: Variant(_noise, against=_most_entangled),
        ALL_OTHERS: Variant(_noise, against=_all_others),
        ON_SHELL: Variant(_noise, finish=to_shell),
        OVERLAY: Variant(lambda study: (study.pixels, study.picture)),
        SHUFFLED: Variant(lambda study: (study.shuffled, study.generate)),
    }
)
