"""Mutual nearest neighbours as a curve over the number of images, on which they depend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from noisezoo.analysis.core import AnyArray, Draws, Measured, Result
from noisezoo.analysis.relations import alignment_matrix

_HALVINGS = 4  # sizes that are tried unasked


@dataclass(frozen=True, eq=False)
class NeighbourCurve(Result):
    """Mutual neighbours of every pair of views at every size."""

    points: Mapping[tuple[str, str, int], Measured]  # (view, view, images)
    k: int
    draws: Draws
    caveats: tuple[str, ...]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a pair and size; `chance` is k / (size - 1), what views that share nothing agree on."""
        return [
            {"a": a, "b": b, "size": size, **point.row("mutual_knn"), "chance": self.k / (size - 1)}
            for (a, b, size), point in self.points.items()
        ]


def neighbour_curve(
    views: Mapping[str, AnyArray],
    *,
    sizes: Sequence[int] | None = None,
    k: int = 10,
    groups: ArrayLike | None = None,
    n_splits: int = 16,
    n_permutations: int = 20,
    confidence: float = 0.95,
    seed: int = 42,
) -> NeighbourCurve:
    """`mutual_knn` of `alignment` (Huh et al. 2024) on random subsets of the images, for every pair of `views`.

    At a fixed k more images make near neighbours nearer, so that a value means nothing without its n: two views that
    share their coarse geometry only agree less and less, and those that share the fine one keep what they have.

    `views` are name -> (n, d), one image a row, the same in all. `sizes` are numbers of images; None: all, a half, a
    quarter and an eighth, while there are more than 4 k. Rows of one of `groups` (n,) are never neighbours; they and
    the draws are as in `Draws`.

    Raises:
        ValueError: a size of 4 k or less or above n, or what `alignment` refuses.
    """
    n = len(next(iter(views.values()), ()))
    wanted = sorted(sizes if sizes is not None else {n // 2**i for i in range(_HALVINGS) if n // 2**i >= 4 * k + 4})
    if not wanted or wanted[-1] > n:
        raise ValueError(f"sizes must lie above {4 * k} and be at most the {n} images, not {wanted}")
    draws: dict[str, Any] = {"n_splits": n_splits, "n_permutations": n_permutations, "confidence": confidence}
    found = {
        size: alignment_matrix(views, k=k, groups=groups, max_rows=size, max_axes=1, n_folds=2, seed=seed, **draws)
        for size in wanted
    }
    points = {(*pair, size): one.mutual_knn for size, matrix in found.items() for pair, one in matrix.pairs.items()}
    said = [s for s in found[wanted[-1]].settings()["caveats"] if "svcca" not in s]
    return NeighbourCurve(points, k, Draws(seed=seed, **draws), tuple(said))
