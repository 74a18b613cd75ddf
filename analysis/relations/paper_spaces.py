"""The paper's Figure 6: attributes and neighbourhoods in shared spaces of subsets of views, dimension by dimension."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noisezoo.analysis.core import (
    Draws,
    Floats,
    Interval,
    Matrix,
    Result,
    as_labels,
    constant_columns,
    interval_of_influences,
    mean_intervals,
    null_columns,
    principal_frame,
    same_rows,
    shuffled,
    to_numpy,
    units_of,
)
from noisezoo.analysis.probes import DIMENSIONS, as_mask, fit_probes
from .gcca import gcca

SUBSETS: Mapping[str, tuple[str, ...]] = {
    "X1": ("sd21-base", "lcm", "clip-vit-b16", "dinov3-vit-l16"),
    "X2": ("sd15", "lcm", "openclip-vit-b16", "dinov3-vit-l16"),
    "X3": ("sd15", "sd21-base", "clip-vit-l14", "openclip-vit-b16"),
    "X4": ("sd15", "sd21-base", "clip-vit-l14", "dinov3-vit-l16"),
    "X5": ("sd15", "sd21-base", "lcm", "clip-vit-l14", "openclip-vit-b16", "dinov3-vit-l16"),
}
"""The paper's subsets of Figure 6, by our names of its views."""
DIMS = tuple(range(16, 513, 16))
Space = tuple[Floats, Floats]
"""Coordinates of the training rows and of the test rows, leading dimensions first."""


@dataclass(frozen=True, eq=False)
class PaperSpaces(Result):
    """Accuracy in every space, and agreement of neighbourhoods between each two shared ones, at every dimension.

    The accuracy's null is the majority rule. The agreement's null refits every space on views whose rows are shuffled
    apart: spaces with a view in common agree on its private noise too, and the null says how much.
    """

    accuracy: Mapping[tuple[str, int], Interval]  # space, dimension
    majority: float
    agreement: Mapping[tuple[str, str, int], Interval]  # two spaces, dimension
    null: Floats  # (permutations, pairs and dimensions)
    members: Mapping[str, tuple[str, ...]]  # shared space -> its views
    names: tuple[str, ...]  # attributes that were probed
    n_train: int
    n_test: int
    n_queries: int
    draws: Draws

    def records(self) -> list[dict[str, Any]]:
        """One dictionary a space and dimension, then one a pair of spaces and dimension."""
        blank = {"null_low": None, "null_high": None}
        rows = [{"metric": "accuracy", "space": space, "against": "", "dim": k, **found.to_dict(),
                 "null": self.majority, **blank} for (space, k), found in self.accuracy.items()]  # fmt: skip
        pairs = zip(self.agreement.items(), self.null.T, strict=True)
        rows += [{"metric": "spearman", "space": a, "against": b, "dim": k, **found.to_dict(), **null_columns(null)}
                 for ((a, b, k), found), null in pairs]  # fmt: skip
        return rows


def paper_spaces(
    views: Mapping[str, ArrayLike],
    labels: ArrayLike,
    names: Sequence[str],
    *,
    kinds: Mapping[str, str],
    train: ArrayLike,
    subsets: Mapping[str, Sequence[str]] = SUBSETS,
    dims: Sequence[int] = DIMS,
    ridge: float = 0.1,
    groups: ArrayLike | None = None,
    n_queries: int = 500,
    n_permutations: int = 2,
    confidence: float = 0.95,
    seed: int = 42,
) -> PaperSpaces:
    """MAXVAR GCCA of subsets of views, judged on test rows at k = 16, 32, ... dimensions.

    Each view enters by its leading principal components, the paper's number for its kind, fitted on training rows, and
    so does a single view's own space. Leading dimensions of a space of 512 are the space of fewer, so that one
    decomposition serves all k. Neighbourhoods are compared by the Spearman correlation, for each query, of its cosines
    with all other queries in the one space and in the other.

    `views` are name -> rows (n, d) of the same images, `kinds` view -> `noise`, `embedding` or `control`; `labels` are
    attributes (n, k) of zeros and ones with k `names`, and `train` (n,) is true for training rows. `subsets` are name
    of a shared space -> its views; those with a view that is not there are left out, and so are `dims` that a space has
    not. At most `n_queries` test rows are compared. `ridge` is as for `gcca`; `groups` and the draws are as in `Draws`.

    Raises:
        ValueError: no subset is there, no dimension is left, or what `gcca` or `as_labels` refuses.
    """
    draws = Draws(n_permutations=n_permutations, confidence=confidence, seed=seed)
    members = {space: tuple(of) for space, of in subsets.items() if all(view in views for view in of)}
    if not members:
        raise ValueError(f"no subset has all of its views here: {', '.join(views)}")
    arrays = [to_numpy(X) for X in same_rows(views.items())]
    mask, Y = as_mask(train, len(arrays[0])), as_labels(labels, rows=len(arrays[0]), names=names)
    units, rng = units_of(len(mask), groups), np.random.default_rng([seed, 43])
    own = {view: _components(X, mask, DIMENSIONS[kinds[view]]) for view, X in zip(views, arrays, strict=True)}
    queries = np.sort(rng.permutation(int((~mask).sum()))[:n_queries])

    def shared(own: Mapping[str, Space]) -> dict[str, Space]:
        return _shared(own, members, units[mask], max(dims), ridge, seed)

    spaces = shared(own)
    rhos = dict(_agreement(spaces, dims, queries))
    if not rhos:
        raise ValueError(f"no space has {min(dims)} dimensions, or there is but one: give more views, or more rows")
    apart = (shared(_apart(own, units, mask, rng)) for _ in range(n_permutations))
    null = [[float(rho.mean()) for _, rho in _agreement(each, dims, queries)] for each in apart]
    varied = np.setdiff1d(np.arange(Y.shape[1]), constant_columns(Y[mask]))
    Y_train, truth = Y[mask][:, varied], Y[~mask][:, varied] > 0
    right = {(space, k): (_answers(T[:, :k], S[:, :k], Y_train) == truth).mean(axis=1)[:, None]
             for space, (T, S) in {**own, **spaces}.items() for k in dims if k <= T.shape[1]}  # fmt: skip
    drawn: Any = {"groups": units[~mask], "confidence": confidence, "seed": seed}
    return PaperSpaces(
        accuracy={key: mean_intervals(scores, **drawn)[0] for key, scores in right.items()},
        majority=float((truth == (Y_train.mean(axis=0) > 0.5)).mean()),
        agreement={key: interval_of_influences(float(rho.mean()), (rho - rho.mean()) / len(rho),
                                               units[~mask][queries], confidence) for key, rho in rhos.items()},
        null=np.array(null).reshape(n_permutations, len(rhos)),
        members=members,
        names=tuple(names[j] for j in varied),
        n_train=int(mask.sum()),
        n_test=len(truth),
        n_queries=len(queries),
        draws=draws,
    )  # fmt: skip


def _components(X: Matrix, mask: NDArray[np.bool_], most: int) -> Space:
    """Standardised leading components, fitted on the training rows."""
    frame = principal_frame(X[mask], leading=most)
    axes = frame.lift(np.eye(len(frame.eigenvalues)))
    sd = np.sqrt(frame.eigenvalues / mask.sum())
    return frame.scores / sd, (X[~mask] - frame.mean) @ axes / sd


def _shared(
    own: Mapping[str, Space], members: Mapping[str, tuple[str, ...]], units: NDArray[np.intp], most: int, ridge: float,
    seed: int,
) -> dict[str, Space]:  # fmt: skip
    """The shared space of each subset, of as many dimensions as it has, at most `most`."""
    found = {}
    for space, views in members.items():
        train, test = ([own[view][side] for view in views] for side in (0, 1))
        dim = min(most, sorted(X.shape[1] for X in train)[-2], len(units) * 4 // 5 - 1)
        fitted = gcca(train, dim, ridge=ridge, groups=units, n_permutations=0, seed=seed)
        found[space] = fitted.shared, fitted.transform(test)
    return found


def _apart(
    own: Mapping[str, Space], units: NDArray[np.intp], mask: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, Space]:
    """The views with rows shuffled, each by an order of its own, training and test rows apart."""
    sides = units[mask], units[~mask]
    return {
        view: (T[next(shuffled(sides[0], 1, rng))], S[next(shuffled(sides[1], 1, rng))]) for view, (T, S) in own.items()
    }


def _answers(T: Floats, S: Floats, Y: Floats) -> NDArray[np.bool_]:
    """What logistic probes at C = 1 of standardised T (n, k) answer on S (m, k): (m, attributes)."""
    sd = T.std(axis=0)
    return np.asarray(fit_probes(T / sd, Y, C=1.0).decision_function(S / sd) > 0)


def _agreement(
    shared: Mapping[str, Space], dims: Sequence[int], queries: NDArray[np.intp]
) -> Iterator[tuple[tuple[str, str, int], Floats]]:
    """(two spaces, dimension) and the correlation of each query's similarities in both, (queries,)."""
    for k in dims:
        ranked = {space: _ranks(S[queries, :k]) for space, (_, S) in shared.items() if k <= S.shape[1]}
        for (a, A), (b, B) in combinations(ranked.items(), 2):
            yield (a, b, k), np.einsum("ij,ij->i", A, B)


def _ranks(S: Floats) -> Floats:
    """Ranks of each row's cosines with the other rows of S (m, k), centred and of unit norm: (m, m - 1)."""
    from scipy.stats import rankdata

    norms = np.linalg.norm(S, axis=1, keepdims=True)
    U = S / np.where(norms > 0, norms, 1.0)
    m = len(U)
    others = (U @ U.T)[~np.eye(m, dtype=bool)].reshape(m, m - 1)
    ranks = rankdata(others, axis=1) - m / 2  # ranks from 1 to m - 1 have the mean m / 2
    return np.asarray(ranks / np.linalg.norm(ranks, axis=1, keepdims=True))
