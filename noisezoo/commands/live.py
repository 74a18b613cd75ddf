"""Edits of one picture's noise: directions, what is regenerated of it, and what lies near that in each view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.controls import area_means
from noisezoo.analysis.core import units_of, units_with
from noisezoo.analysis.edits import Edit, Space, make_edit, orthogonal_edit
from noisezoo.analysis.studies import Data, Judge, Model
from noisezoo.errors import UsageError

Floats = NDArray[np.floating]
LEAST = 2
"""Images, or identities, of either class that a direction needs."""


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A view's rows, centred and of unit length, and how an edited picture is read in it."""

    mean: Floats  # (e,)
    rows: Floats  # (n, e)
    read: Callable[[Floats, Floats], Floats]  # noise (1, d) and its picture (1, c, h, w) -> the view's row (1, e)

    @classmethod
    def of(cls, X: Floats, read: Callable[[Floats, Floats], Floats]) -> "Neighbourhood":
        """Of all rows X (n, e)."""
        mean = X.mean(axis=0)
        return cls(mean, _unit(X - mean), read)

    def nearest(self, noise: Floats, picture: Floats, count: int) -> list[tuple[int, float]]:
        """The rows of largest cosine with the picture, the largest first, and that cosine."""
        cosines = self.rows @ _unit(self.read(noise, picture) - self.mean)[0]
        order = np.argsort(-cosines, kind="stable")[:count]
        return [(int(row), float(cosines[row])) for row in order]


@dataclass(frozen=True, eq=False)
class Live:
    """A dataset's noise through one model, ready to be edited."""

    ids: Sequence[str]  # (n,) of the images
    shown: Sequence[int]  # rows to choose among: held-out ones, on which no direction was fitted, where there are any
    noise: Floats  # (n, d)
    edits: Mapping[str, Edit]  # attribute -> its edit along the probe's normal
    orthogonal: Mapping[str, Edit]
    """The same with the normals of all other attributes taken out; lacks those of which nothing is left."""
    model: Model  # makes pictures of noise
    views: Mapping[str, Neighbourhood]  # view -> its neighbourhood
    pictures: Floats | None  # (n, c, h, w) in [-1, 1], for the eye; None where the dataset has none

    def edited(self, row: int, strengths: Mapping[str, float], *, orthogonal: bool) -> Floats:
        """A row's noise moved by so many projected standard deviations along each attribute's direction: (1, d)."""
        Z = self.noise[row : row + 1]
        for name, strength in strengths.items():
            edit = self.orthogonal.get(name) if orthogonal else self.edits[name]
            Z = Z if edit is None else edit.apply(Z, strength)
        return Z

    def generate(self, noise: Floats) -> Floats:
        """The picture of one row of noise, (1, c, h, w) in [-1, 1]."""
        return np.clip(self.model.generate(noise), -1, 1)

    def nearest(self, noise: Floats, picture: Floats, count: int = 6) -> dict[str, list[tuple[int, float]]]:
        """In each view the `count` images nearest to an edited picture, with their cosines."""
        return {name: view.nearest(noise, picture, count) for name, view in self.views.items()}


def open_live(
    data: Data, model: Model, judges: Sequence[Judge], *, attributes: Sequence[str] = (), limit: int = 200
) -> Live:
    """Fit the directions of a dataset's attributes on its training rows, and read the views.

    Args:
        data: The dataset; its `pixels` view, where it has one, is what is shown of other images.
        model: The generative model of a noise view.
        judges: Encoders of embeddings in which neighbours are looked up as well.
        attributes: Those to edit; all that have both classes by default.
        limit: At most this many images to choose among.

    Raises:
        UsageError: An attribute that is not there or has one class only among the training rows; or no attribute.
    """
    units = units_of(len(data), data.groups)
    rows = np.flatnonzero(data.train) if data.train.any() else np.arange(len(data))
    fewest = np.min(units_with(units[rows], data.Y[rows].astype(np.float64)), axis=0)  # (k,) of the rarer class
    able = [name for name, few in zip(data.names, fewest, strict=True) if few >= LEAST]
    unknown = [name for name in attributes if name not in able]
    if unknown or not able:
        what = f"--edit {unknown[0]}: it cannot be edited here" if unknown else "no attribute has two classes to edit"
        raise UsageError(f"{what}; these can: {', '.join(able) or 'none'}")
    X, columns = data.matrix(model.view), [data.names.index(name) for name in able]
    space = Space(X, data.Y[:, columns].astype(np.float64), rows, data.narrow_basis(model.view), units)
    edits = {name: make_edit(name, able, space.probes, space.train) for name in able}
    wanted = [name for name in able if name in attributes or not attributes]
    held = np.flatnonzero(~data.train) if (~data.train).any() else rows
    pixels = next((view for view in data.views if data.facts(view)["family"] == "pixels"), None)
    pictures = None if pixels is None else data.matrix(pixels).reshape(-1, *data.shape(pixels))
    return Live(
        data.ids, held[:limit].tolist(), X, {name: edits[name] for name in wanted}, _orthogonal(edits, wanted, space),
        model, _neighbourhoods(data, model, judges, pixels, pictures), pictures,
    )  # fmt: skip


def _orthogonal(edits: Mapping[str, Edit], wanted: Sequence[str], space: Space) -> dict[str, Edit]:
    found = {}
    for name in wanted:
        try:
            others = [edit for other, edit in edits.items() if other != name]
            found[name] = orthogonal_edit(edits[name], others, space.train)
        except ValueError:  # it lies in the span of the others
            continue
    return found


def _neighbourhoods(
    data: Data, model: Model, judges: Sequence[Judge], pixels: str | None, pictures: Floats | None
) -> dict[str, Neighbourhood]:
    found = {model.view: Neighbourhood.of(data.matrix(model.view), lambda noise, picture: noise)}
    for judge in judges:
        found[judge.view] = Neighbourhood.of(data.matrix(judge.view), _reader(judge))
    if pixels is not None and pictures is not None:
        found[pixels] = Neighbourhood.of(data.matrix(pixels), _at(pictures.shape[1:]))
    return found


def _reader(judge: Judge) -> Callable[[Floats, Floats], Floats]:
    return lambda noise, picture: judge.embed(picture)


def _at(shape: tuple[int, ...]) -> Callable[[Floats, Floats], Floats]:
    """Pictures averaged down to a view's size, and to its channels."""

    def read(noise: Floats, picture: Floats) -> Floats:
        small = picture.astype(np.float64)
        small = area_means(small, (shape[1], shape[2])) if picture.shape[2:] != shape[1:] else small
        grey = small.mean(axis=1, keepdims=True) if shape[0] == 1 else np.broadcast_to(small, (1, *shape))
        return np.asarray(grey.reshape(1, -1))

    return read


def _unit(X: Floats) -> Floats:
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(lengths > 0, lengths, 1.0))
