"""Structure left in noise: what of the picture, and of its smooth and textured parts, inverted noise still shows.

DDIM inversion leaves noise that follows the image, with less variance where the image is smooth (Staniszewski et al.,
arXiv 2410.23530). Tests over rows cannot see it; these statistics are taken within each row, over its positions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Floats,
    Matrix,
    Result,
    Rows,
    as_rows,
    finite_sum,
    mean_intervals,
    refuse_settings,
    to_numpy,
    wilson,
)

_CHUNK = 2**20  # numbers of noise in hand at a time
_LAGS = (1, 2, 4)
_PATCH = 2
_QUANTILE = 4  # the smoothest and the most textured fourth of the positions


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the statistics need of m pictures, on the noise's grid of p positions."""

    pictures: Floats  # (m, C, p) centred
    smooth: NDArray[np.intp]  # (m, q) positions of least gradient energy
    textured: NDArray[np.intp]  # (m, q) of most


def _flat(Z: Floats) -> Floats:
    """Rows (m, c, h, w) as (m, c, p)."""
    return Z.reshape(*Z.shape[:2], -1)


def _explained(Z: Floats, scene: _Scene) -> Floats:
    """R2 of the regression of each channel of Z (m, c, h, w) on the picture's channels; mean of them: (m,).

    Its expectation for noise that knows nothing of the picture is rank / (p - 1).
    """
    V, P = _flat(Z), scene.pictures
    V = V - V.mean(axis=2, keepdims=True)
    B = V @ P.transpose(0, 2, 1)  # (m, c, C)
    inverse = np.linalg.pinv(P @ P.transpose(0, 2, 1), rcond=1e-6, hermitian=True)  # grey has rank 1
    return np.asarray((np.einsum("mci,mij,mcj->mc", B, inverse, B) / (V**2).sum(axis=2)).mean(axis=1))


def _smooth(Z: Floats, scene: _Scene) -> Floats:
    """Log variance in smooth places less log variance in textured ones, mean over channels."""
    V, places = _flat(Z), (scene.smooth, scene.textured)
    smooth, textured = (np.take_along_axis(V, where[:, None], axis=2).var(axis=2, ddof=1) for where in places)
    return np.asarray(np.log(smooth / textured).mean(axis=1))


def _moran(lag: int, Z: Floats, scene: _Scene) -> Floats:
    """Moran's I (1950) over pairs `lag` apart along rows and columns; -1 / (p - 1) is expected of independence."""
    across, down = Z[..., lag:] * Z[..., :-lag], Z[..., lag:, :] * Z[..., :-lag, :]
    pairs = across[0, 0].size + down[0, 0].size
    return np.asarray(((across.sum(axis=(2, 3)) + down.sum(axis=(2, 3))) / pairs).mean(axis=1))


def _top_eigenvalue(Z: Floats, scene: _Scene) -> Floats:
    """Largest eigenvalue of the covariance of a row's own patches, over their mean eigenvalue."""
    windows = np.lib.stride_tricks.sliding_window_view(Z, (_PATCH, _PATCH), axis=(2, 3))
    patches = windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(Z), Z.shape[1] * _PATCH**2, -1)  # (m, features, places)
    patches = patches - patches.mean(axis=2, keepdims=True)
    values = np.linalg.eigvalsh(patches @ patches.transpose(0, 2, 1))
    return np.asarray(values[:, -1] / values.mean(axis=1))


STATISTICS: Mapping[str, Callable[[Floats, _Scene], Floats]] = {
    "image R2": _explained,
    "image R2 of |noise|": lambda Z, scene: _explained(np.abs(Z), scene),
    "log variance, smooth less textured": _smooth,
    **{f"Moran's I, lag {lag}": partial(_moran, lag) for lag in _LAGS},
    "top eigenvalue of patches": _top_eigenvalue,
}


@dataclass(frozen=True, slots=True)
class StructureRow:
    """One statistic: mean over rows with its bootstrap interval, beside iid Gaussian noise with the same pictures.

    `null_low`, `null_high` hold the mean over as many rows of iid noise with probability `confidence`; `p_value` is
    two-sided by the central limit theorem over rows. `departing` is the share of rows that a Monte Carlo test of the
    row by itself rejects at 1 - confidence, with Wilson's interval: of iid noise, that share of rows.
    """

    statistic: str
    estimate: float
    low: float
    high: float
    null: float
    null_low: float
    null_high: float
    p_value: float
    departing: float
    departing_low: float
    departing_high: float


@dataclass(frozen=True, slots=True)
class NoiseStructure(Result):
    """Rows of `noise_structure`, one a statistic."""

    rows: tuple[StructureRow, ...]
    n: int
    n_rows: int
    shape: tuple[int, int, int]
    n_null: int
    confidence: float
    seed: int

    def row(self, statistic: str) -> StructureRow:
        """One of `STATISTICS`; KeyError where the grid was too small for it."""
        return {row.statistic: row for row in self.rows}[statistic]


def noise_structure(
    Z: ArrayLike,
    images: ArrayLike,
    shape: tuple[int, int, int],
    *,
    n_rows: int = 500,
    n_null: int = 19,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    seed: int = 42,
) -> NoiseStructure:
    """How far rows of noise are from iid Gaussian noise within themselves, and how much they know of their pictures.

    Every channel of a row is first centred and scaled, so that neither its mean nor its variance counts: only where in
    the row they lie. Pictures are averaged over the areas of the noise's grid.

    Z are noise rows (n, c h w) of a `shape` (c, h, w), h and w at least 4, and `images` (n, C, H, W) their pictures, in
    any unit. At most `n_rows` rows are used, drawn without replacement; each has `n_null` iid replicates, of which
    1 / (1 - confidence) - 1 are the fewest that can reject a row. The bootstrap draws whole `groups` (n,).
    `confidence` and `seed` are as in `Draws`.

    Raises:
        ValueError: shapes that do not match, a row with a constant channel, a grid smaller than 4 x 4, fewer than 2
            rows, too few replicates, or what `as_matrix` refuses.
    """
    refuse_settings(n_null=n_null, confidence=confidence, seed=seed)
    rows, pictures = _finite_rows(Z, "Z"), to_numpy(images)
    n = rows.shape[0]
    _refuse_mismatch(rows.shape, pictures, shape)
    if (1 + n_null) * (1 - confidence) < 1 - 1e-9:
        raise ValueError(f"{n_null} null replicates cannot reject a row at {1 - confidence:g}; ask for more")
    chosen = np.sort(np.random.default_rng([seed, 5]).permutation(n)[:n_rows])
    names = [name for name in STATISTICS if name not in {f"Moran's I, lag {lag}" for lag in _LAGS if lag >= shape[2]}]
    blocks = list(_blocks(rows.take(chosen), pictures[chosen], chosen, shape, names, n_null, seed))
    table = np.concatenate(blocks, axis=2)  # (1 + nulls, statistics, rows)
    units = None if groups is None else np.asarray(groups)[chosen]
    found = tuple(_row(name, table[:, j], units, confidence, seed) for j, name in enumerate(names))
    return NoiseStructure(found, n, len(chosen), shape, n_null, confidence, seed)


def _finite_rows(X: ArrayLike, name: str) -> Rows:
    """Rows whose values were looked at a block at a time: all of them in float32 may be more than memory holds."""
    rows = as_rows(X, name)
    for row, block in rows.blocks():
        finite_sum(block, f"a block of {name}", row)
    return rows


def _refuse_mismatch(size: tuple[int, ...], images: NDArray[Any], shape: tuple[int, int, int]) -> None:
    (n, d), (c, h, w) = size, shape
    if d != c * h * w:
        raise ValueError(f"Z has {d} columns, and a row of shape {shape} has {c * h * w}")
    if images.ndim != 4 or len(images) != n:
        raise ValueError(f"images must be ({n}, C, H, W), one for each row of Z, not of shape {images.shape}")
    _finite_rows(images.reshape(n, -1), "images")
    if min(h, w) < 4:
        raise ValueError(f"a grid of {h} x {w} is too small to tell smooth places from textured ones: 4 x 4 at least")


def _blocks(
    Z: Matrix, images: NDArray[Any], chosen: NDArray[np.intp], shape: tuple[int, int, int], names: list[str],
    n_null: int, seed: int,
) -> Iterator[Floats]:  # fmt: skip
    """Statistics (1 + nulls, statistics, m) of the rows, then of replicates, a block of rows at a time."""
    size = max(1, _CHUNK // Z.shape[1])
    for number, at in enumerate(np.split(np.arange(len(chosen)), range(size, len(chosen), size))):
        rng = np.random.default_rng([seed, 6, number])
        scene = _scene(images[at].astype(np.float64), shape[1:])
        given = [_standardised(Z[at].reshape(-1, *shape).astype(np.float64), chosen[at])]
        draws = (_standardised(rng.standard_normal((len(at), *shape)), chosen[at]) for _ in range(n_null))
        yield np.array([[STATISTICS[name](V, scene) for name in names] for V in (*given, *draws)])


def _standardised(Z: Floats, rows: NDArray[np.intp]) -> Floats:
    """Every channel of every row (m, c, h, w) with mean 0 and variance 1."""
    centred = Z - Z.mean(axis=(2, 3), keepdims=True)
    spread = centred.std(axis=(2, 3), keepdims=True)
    constant = ~(spread > 1e-6 * (np.abs(Z).max(axis=(2, 3), keepdims=True)))
    if constant.any():
        row, channel = np.argwhere(constant[:, :, 0, 0])[0]
        raise ValueError(f"channel {channel} of row {rows[row]} of Z is constant: nothing varies within it")
    return np.asarray(centred / spread)


def _scene(images: Floats, grid: tuple[int, int]) -> _Scene:
    down, across = np.gradient(images, axis=(2, 3))
    energy = (down**2 + across**2).sum(axis=1)  # (m, H, W) squared length of the gradient, summed over channels
    pictures = _flat(area_means(images, grid))
    order = np.argsort(area_means(energy, grid).reshape(len(images), -1), axis=1, kind="stable")
    q = order.shape[1] // _QUANTILE
    return _Scene(pictures - pictures.mean(axis=2, keepdims=True), order[:, :q], order[:, -q:])


def area_means(images: Floats, grid: tuple[int, int]) -> Floats:
    """Means of images (..., H, W) over the areas of a grid (h, w) laid on them, whatever the ratio: (..., h, w)."""
    down, across = (_overlaps(size, cells) for size, cells in zip(images.shape[-2:], grid, strict=True))
    return np.asarray(down @ images @ across.T)


def _overlaps(size: int, cells: int) -> Floats:
    """Share of each of `cells` equal intervals that each of `size` pixels covers: (cells, size), rows sum to 1."""
    ends = np.linspace(0, size, cells + 1)[:, None]
    pixels = np.arange(size)
    shared = np.minimum(ends[1:], pixels + 1) - np.maximum(ends[:-1], pixels)
    return np.asarray(np.clip(shared, 0, None) * cells / size)


def _row(name: str, table: Floats, groups: NDArray[Any] | None, confidence: float, seed: int) -> StructureRow:
    """From one statistic of n rows (first) and of their replicates: (1 + nulls, n)."""
    from scipy.special import ndtr, ndtri

    values, nulls = table[0], table[1:]
    n_null, n = nulls.shape
    interval = mean_intervals(values[:, None], seed=seed, groups=groups, confidence=confidence)[0]
    spread = np.sqrt(nulls.var(axis=0, ddof=1).sum() * (1 + 1 / n_null)) / n  # of the mean, less the replicates' own
    null, half = float(nulls.mean()), float(ndtri((1 + confidence) / 2) * spread)
    off = np.abs(table - table.mean(axis=0))  # a centre that treats row and replicates alike keeps the test exact
    p_rows = (1 + (off[1:] >= off[0]).sum(axis=0)) / (1 + n_null)
    departing = int((p_rows <= 1 - confidence + 1e-9).sum())
    rejected = (departing / n, *(float(end) for end in wilson(departing, n, confidence)))
    p_value = float(2 * ndtr(-abs(interval.estimate - null) / (spread or 1.0)))  # flat pictures: 0 from 0
    found = (interval.estimate, interval.low, interval.high)
    return StructureRow(name, *found, null, null - half, null + half, p_value, *rejected)
