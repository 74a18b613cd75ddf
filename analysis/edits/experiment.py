"""Regenerate edited noise and measure what changed: another view reads it, and a pixel overlay is the control.

Labels that mean nothing still agree with rows by chance. Directions and readers that are fitted on the same rows learn
the same chance, and then an attribute that is not there seems to be edited every time. So the training rows are split
in two, identities whole: directions and overlays are made on one half, and the judge encoder's probes fitted on the
other. The same edits along directions of shuffled labels say what a direction of nothing does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Measured,
    as_labels,
    assign_folds,
    half_samples,
    refuse_settings,
    shuffled,
    units_of,
    units_with,
)
from noisezoo.analysis.probes import Probes
from noisezoo.pca import Basis
from .directions import PROBE, carry_back, carry_back_probes, directions_on, probes_on, stray_shares
from .edit import Edit, edit_along, fit_norm, keep_norm, make_edit, most_entangled, orthogonal_edit
from .effect import Effect
from .measures import MEASURES, Embed, Images, Reader, Seen, levels, with_interval

Floats = NDArray[np.floating]
Rows = NDArray[np.intp]
Generate = Callable[[Floats], Images]
"""Noise rows (b, d) -> pictures (b, 3, h, w) in [-1, 1]."""
NOISE, ORTHOGONAL, OVERLAY = "noise", "noise, orthogonalised", "pixel overlay"
ALL_OTHERS, AT_NORM = "noise, orthogonalised to all", "noise, at its norm"
SHOWN = (NOISE, ORTHOGONAL, OVERLAY)
"""What every strip of pictures shows."""
LEAST = 2
"""Identities of either class that every fit needs."""


@dataclass(frozen=True, eq=False)
class Space:
    """One view as an experiment needs it: all rows X (n, d), labels Y (n, k), and which rows are fitted on.

    With a `basis` of the view, probes and all other directions are made on its principal scores and carried back.
    """

    X: Floats
    Y: NDArray[np.float64]
    rows: Rows  # (m,) numbers of the training rows
    basis: Basis | None = None
    units: Rows | None = None  # (n,) identities: none is in two of the folds that choose C
    own: dict[str, Floats] = field(default_factory=dict, init=False, repr=False)
    """Kind -> directions (d, k) of its own labels."""

    @cached_property
    def train(self) -> Floats:
        """The training rows (m, d)."""
        return self.X[self.rows]

    @cached_property
    def labels(self) -> NDArray[np.float64]:
        """Of the training rows, (m, k)."""
        return self.Y[self.rows]

    @cached_property
    def scores(self) -> Floats:
        """The training rows as directions are made on them: on the basis, where there is one."""
        return self.train if self.basis is None else self.basis.transform(self.train)

    @property
    def groups(self) -> Rows | None:
        """Identities of the training rows, (m,)."""
        return None if self.units is None else self.units[self.rows]

    @cached_property
    def probes(self) -> Probes:
        """Probes of every attribute on the training rows, in the view's own coordinates."""
        return carry_back_probes(probes_on(self.scores, self.labels, self.groups), self.basis)

    def directions(self, kind: str, labels: NDArray[np.float64] | None = None) -> Floats:
        """Directions (d, k) of one of `directions.MAKERS`, made on the training rows, of their labels or of others."""
        if labels is not None:
            return carry_back(directions_on(self.scores, labels, kind, self.groups), self.basis)
        if kind not in self.own:
            self.own[kind] = self.probes.coef if kind == PROBE else self.directions(kind, self.labels)
        return self.own[kind]


def fit_space(X: Floats, Y: ArrayLike, train: NDArray[np.bool_], *, basis: Basis | None = None) -> Space:
    """A view X (n, d), float32 or float64, with attributes Y (n, k) and a mask (n,) of the rows to fit on.

    Args:
        X: all rows.
        Y: zeros and ones.
        train: the rows that directions and readers may be fitted on; edited faces are of the others.
        basis: make directions on the view's principal components and carry them back.

    Raises:
        ValueError: what `as_labels` refuses, or a mask that is not (n,).
    """
    labels = as_labels(Y, rows=len(X))
    mask = np.asarray(train)
    if mask.shape != (len(X),) or mask.dtype != np.bool_:
        raise ValueError(f"train must be a mask of the {len(X)} rows, not {mask.dtype} of shape {mask.shape}")
    return Space(X, labels, np.flatnonzero(mask), basis)


@dataclass(frozen=True, eq=False)
class Strip:
    """One edit at every strength: pictures (strengths, faces, 3, h, w), and one record a strength."""

    attribute: str
    kind: str
    variant: str
    against: tuple[str, ...]
    strengths: tuple[float, ...]
    images: Images
    records: list[dict[str, Any]]
    changes: Sequence[Effect] = ()  # (strengths,) change of every attribute (k,), in deviations of its logit
    stray: Sequence[Effect] = ()  # (strengths,) mean |change| of the attributes that were not edited (1,)


@dataclass(frozen=True, eq=False)
class Experiment:
    """What an edit is made with and read by. Every space has the same rows, labels and training rows.

    Attributes:
        names: (k,) attributes. Those of which a half has fewer than two identities of a class are `refused`.
        noise: The generative model's noise.
        pixels: The pictures themselves, rows flattened from `picture_shape`.
        judge: The judge encoder's embeddings: another view, which says what a regenerated picture shows.
        picture_shape: (3, h, w).
        generate: From noise rows to pictures.
        embed: From pictures to the judge encoder's rows.
        strengths: In projected standard deviations; the first must be 0, the reference of every change.
        groups: (n,) identities: they are never cut, and count as one face in intervals.
        n_splits: Halves of the judge encoder's rows that its probes are fitted on again, for intervals.
        n_permutations: Shuffled labels whose directions are the null; each regenerates the faces at every strength.
            Below 2 there is no null, and intervals take the direction as given.
        confidence: Of the intervals.
        seed: Of splits and shuffled labels.
    """

    names: Sequence[str]
    noise: Space
    pixels: Space
    judge: Space
    picture_shape: tuple[int, int, int]
    generate: Generate
    embed: Embed
    strengths: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    groups: ArrayLike | None = None
    n_splits: int = 8
    n_permutations: int = 8
    confidence: float = 0.95
    seed: int = 42

    def __post_init__(self) -> None:
        """Refuse spaces that are not of the same rows, whose labels and training rows must be equal."""
        for name, space in (("pixels", self.pixels), ("judge", self.judge)):
            if not np.array_equal(space.Y, self.noise.Y) or not np.array_equal(space.rows, self.noise.rows):
                raise ValueError(
                    f"{name} and noise have different labels or training rows: give the same images in both"
                )
        if self.noise.Y.shape[1] != len(self.names):
            raise ValueError(f"{len(self.names)} names were given for {self.noise.Y.shape[1]} attributes")

    @cached_property
    def units(self) -> Rows:
        """Number of every row's identity, (n,)."""
        return units_of(len(self.noise.X), self.groups)

    @cached_property
    def parts(self) -> tuple[Rows, Rows, list[tuple[Rows, Rows]]]:
        """Rows that directions are made on, rows that are read from, and both halves of each split of the latter."""
        rows = self.noise.rows
        folds = assign_folds(len(rows), 2, seed=self.seed, groups=self.units[rows])
        halves = half_samples(folds, max(self.n_splits, 1), seed=self.seed, groups=self.units[rows])[: self.n_splits]
        read = folds == 1
        return rows[~read], rows[read], [(rows[read & half], rows[read & ~half]) for half in halves]

    @cached_property
    def refused(self) -> dict[str, str]:
        """Attribute -> why it cannot be edited or read."""
        made, read, halves = self.parts
        parts = (made, read, *(half for pair in halves for half in pair))
        fewest = np.min([units_with(self.units[rows], self.noise.Y[rows]) for rows in parts], axis=(0, 1))
        why = "{} identities of a class in a part of the training rows: each needs " + str(LEAST)
        return {name: why.format(few) for name, few in zip(self.names, fewest, strict=True) if few < LEAST}

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """Attributes that are edited and read."""
        return tuple(name for name in self.names if name not in self.refused)

    def _on(self, space: Space, rows: Rows) -> Space:
        """A view with other training rows, and the attributes that are measured."""
        columns = [list(self.names).index(name) for name in self.measured]
        return Space(space.X, space.Y[:, columns], rows, space.basis, self.units)

    @cached_property
    def made(self) -> dict[str, Space]:
        """Noise and pixels with the rows and attributes that directions are made on."""
        return {medium: self._on(getattr(self, medium), self.parts[0]) for medium in ("noise", "pixels")}

    @cached_property
    def readers(self) -> tuple[Reader, list[tuple[Reader, Reader]]]:
        """The judge encoder's probes, and those of the halves of each split, at the strengths that all rows chose."""

        def fit(rows: Rows, C: ArrayLike | None = None) -> Reader:
            part = self._on(self.judge, rows)
            return Reader.fit(part.train, part.labels, self.units[rows], C)

        whole = fit(self.parts[1])
        return whole, [(fit(a, whole.probes.C), fit(b, whole.probes.C)) for a, b in self.parts[2]]

    def stray_share(self, kind: str, medium: str, names: Sequence[str]) -> float:
        """By how much less than those of shuffled labels a direction strays that is made of some attributes' own."""
        space, known = self.made[medium], self._shares
        if (kind, medium) not in known:
            C = space.probes.C if kind == PROBE else None
            units = self.units[space.rows]
            known[kind, medium] = stray_shares(space.scores, space.labels, kind, units, C, seed=self.seed)
        shares = known[kind, medium][[self.measured.index(name) for name in names]]
        return min(float(np.linalg.norm(shares)), 1.0)

    @cached_property
    def _shares(self) -> dict[tuple[str, str], NDArray[np.float64]]:
        return {}

    @cached_property
    def shuffled(self) -> list[NDArray[np.float64]]:
        """Labels (m, k) of the rows that directions are made on, in other orders that leave both classes of each."""
        rng, rows = np.random.default_rng([self.seed, 4]), self.parts[0]
        labels = self.made["noise"].labels
        drawn = (labels[order] for order in shuffled(self.units[rows], 20 * self.n_permutations, rng))
        told = (each for each in drawn if (each.min(axis=0) < each.max(axis=0)).all())
        return list(islice(told, self.n_permutations))

    def strips(
        self, attribute: str, rows: Rows, *, kinds: Sequence[str] = (PROBE,), variants: Sequence[str] = SHOWN
    ) -> list[Strip]:
        """One attribute edited in several ways on `rows`, which should lack it.

        By default along the noise's probe; the same with its most entangled attribute taken out; and by a pixel
        overlay, which adds the attribute's direction in *pixel* space to the picture, with no model: what an edit of
        noise must beat. `kinds` are of `directions.MAKERS`, `variants` of `VARIANTS`.

        Raises:
            ValueError: strengths that do not begin with 0, fewer than 2 identities, faces whose identities are trained
                on, an attribute that is `refused`, or an unknown kind or variant.
        """
        refuse_settings(n_permutations=self.n_permutations, confidence=self.confidence, seed=self.seed)
        unknown = [variant for variant in variants if variant not in VARIANTS]
        if unknown:
            raise ValueError(f"no variant {', '.join(unknown)}; choose among: {', '.join(VARIANTS)}")
        if len(self.strengths) < 2 or self.strengths[0] != 0:
            raise ValueError(f"strengths must begin with 0, the unedited reference, not {self.strengths}")
        if attribute not in self.measured:
            raise ValueError(f"cannot edit {attribute!r}: {self.refused.get(attribute, 'there is no such attribute')}")
        faces = np.unique(self.units[rows])
        if len(faces) < 2:
            raise ValueError(f"the edit of {attribute!r} needs faces of 2 identities for an interval, not {len(faces)}")
        if np.isin(faces, self.units[self.noise.rows]).any():
            what = f"faces to edit for {attribute!r} are of identities that are trained on"
            raise ValueError(f"{what}: give held-out rows")
        made = _Made(self, attribute, rows)
        return [made.strip(kind, variant) for kind in kinds for variant in variants]

    def picture(self, X: Floats) -> Images:
        """Pixel rows (b, d) as pictures in [-1, 1]."""
        return np.asarray(np.clip(X.reshape(-1, *self.picture_shape), -1, 1))


@dataclass(frozen=True, eq=False)
class _Made:
    """The edits of one attribute on some faces, and what they share: unedited pictures, and the null of each medium."""

    experiment: Experiment
    attribute: str
    rows: Rows
    unedited: dict[str, Images] = field(default_factory=dict)  # of each medium
    nulls: dict[tuple[str, str], list[Seen]] = field(default_factory=dict)  # (kind, medium) -> a draw each

    @property
    def target(self) -> int:
        return self.experiment.measured.index(self.attribute)

    def strip(self, kind: str, variant: str) -> Strip:
        e, how = self.experiment, VARIANTS[variant]
        space = e.made[how.medium]
        edit = self._edit(space, space.directions(kind)[:, self.target], how.against(e, space, self.attribute))
        edited, images = self._pictures(how.medium, edit, how.finish)
        seen = self._seen(edited, images)
        halves = [(seen.again(a), seen.again(b)) for a, b in e.readers[1]]
        null, norm = self._null(kind, how.medium), fit_norm(space.train)
        share = e.stray_share(kind, how.medium, (self.attribute, *edit.against)) if null else 1.0

        def effect(read: Callable[[Seen], Floats]) -> Effect:
            """The mean over faces of a reading (faces, k), with what it hangs on."""
            contrasts = [(read(a).mean(axis=0) - read(b).mean(axis=0)) / 2 for a, b in halves]
            draws = [read(other).mean(axis=0) for other in null]
            return Effect.of(read(seen), e.units[self.rows], int(e.units.max()) + 1, contrasts, draws, share)

        found = {name: effect(lambda s, read=read: read(s, self.target, norm).T) for name, read in MEASURES.items()}  # type: ignore[misc]
        columns = {name: with_interval(name, each, e.confidence) for name, each in found.items()}
        facts = {"attribute": self.attribute, "kind": kind, "against": list(edit.against)}
        records = [
            {**facts, "strength": strength, **{name: _row(column[i]) for name, column in columns.items()}, **level}
            for i, (strength, level) in enumerate(zip(e.strengths, levels(seen), strict=True))
        ]
        each = range(len(e.strengths))
        changes = [effect(lambda seen, i=i: seen.changes[i]) for i in each]  # type: ignore[misc]
        stray = [found["stray"].take([i]) for i in each]
        return Strip(self.attribute, kind, variant, edit.against, e.strengths, images, records, changes, stray)

    def _edit(self, space: Space, direction: Floats, against: Sequence[str]) -> Edit:
        """Along a direction, with the *probes* of other attributes taken out: those read, whatever the kind."""
        plain = edit_along(self.attribute, direction, space.train)
        readers = [make_edit(name, self.experiment.measured, space.probes, space.train) for name in against]
        return orthogonal_edit(plain, readers, space.train)

    def _pictures(
        self, medium: str, edit: Edit, finish: Callable[[Floats, Floats], Floats] | None
    ) -> tuple[Floats, Images]:
        """Edited rows (strengths, faces, d) and their pictures; those of the unedited are made once."""
        e = self.experiment
        X = e.made[medium].X[self.rows]
        render = e.generate if medium == "noise" else e.picture
        moved = [edit.apply(X, strength) for strength in e.strengths]
        edited = np.stack([finish(each, X) for each in moved] if finish else moved)
        if medium not in self.unedited:
            self.unedited[medium] = render(X)
        before = self.unedited[medium]
        made = render(np.concatenate(edited[1:]))  # one large batch is faster than one a strength
        return edited, np.concatenate([before[None], made.reshape(-1, *before.shape)])

    def _seen(self, edited: Floats, images: Images) -> Seen:
        return Seen.by(self.experiment.readers[0], edited, np.stack([self.experiment.embed(each) for each in images]))

    def _null(self, kind: str, medium: str) -> list[Seen]:
        """The same faces edited along directions of shuffled labels, as the reader of all rows sees them."""
        if (kind, medium) not in self.nulls:
            space, labels = self.experiment.made[medium], self.experiment.shuffled
            drawn = [each[:, self.target] for each in labels]
            W = space.directions(kind, np.stack(drawn, axis=1)) if drawn else np.empty((space.X.shape[1], 0))
            edits = [self._edit(space, w, ()) for w in W.T]
            self.nulls[kind, medium] = [self._seen(*self._pictures(medium, edit, None)) for edit in edits]
        return self.nulls[kind, medium]


def _row(found: Measured) -> dict[str, Any]:
    return {key: value for key, value in found.row("").items() if key != "measure"}


def _most_entangled(experiment: Experiment, space: Space, attribute: str) -> list[str]:
    names = experiment.measured
    return [most_entangled(attribute, names, space.probes, space.train)[0]] if len(names) > 1 else []


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to edit: in which medium, which attributes are taken out of the direction, and what is done last."""

    medium: str
    against: Callable[[Experiment, Space, str], list[str]] = lambda experiment, space, attribute: []
    finish: Callable[[Floats, Floats], Floats] | None = None  # edited rows, rows before -> rows


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        NOISE: Variant("noise"),
        ORTHOGONAL: Variant("noise", against=_most_entangled),
        ALL_OTHERS: Variant("noise", against=lambda e, space, name: [other for other in e.measured if other != name]),
        AT_NORM: Variant("noise", finish=keep_norm),
        OVERLAY: Variant("pixels"),
    }
)
