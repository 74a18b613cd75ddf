"""What tests of Gaussianity read off the rows of a matrix, each by passes over blocks of rows, and only when asked."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from noisezoo.analysis.core import Floats, Matrix, Rows, finite_sum, to_numpy
from .axes import Leading, leading_axes
from .univariate import p_values_of_rows

_PANEL = 1 << 26  # values of a panel of columns: 256 MB in float32
_NULL_COLUMNS = 512  # coordinates in a null replicate: their spread can only be wider than that of all of them
_MIN_DIRECTIONS = 256  # tr S^2 is read off the projections, and needs pairs of them


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the columns, and what is wrong with the rows."""

    mean: Floats  # (d,)
    constant: NDArray[np.bool_]  # (d,)
    repeated: int  # rows that equal an earlier one


@dataclass(frozen=True, slots=True)
class Projections:
    """Centred rows on unit directions, uniform on the sphere."""

    directions: Matrix  # (d, m)
    samples: Matrix  # (m, n)
    squares: Floats  # |x - mean|^2, (n,)


@dataclass(frozen=True, slots=True)
class Univariate:
    """Tests of many univariate samples, and some of the samples."""

    p_values: Floats  # (3, m) of families.UNIVARIATE, NaN where a sample is constant
    some: Matrix  # (m', n)

    @classmethod
    def of(cls, samples: Matrix) -> "Univariate":
        """Of samples as rows (m, n)."""
        return cls(p_values_of_rows(samples), samples)


@dataclass(eq=False)
class Sample:
    """Rows under test; what families share is computed once."""

    rows: Rows
    n_projections: int
    n_axes: int
    seed: int
    independent: bool = True  # false where rows are one of each group
    p_values: dict[str, Floats] = field(default_factory=dict)
    """Family -> p-values (3, m) of families.UNIVARIATE, as they get known."""

    @cached_property
    def moments(self) -> Moments:
        """One pass.

        Raises:
            ValueError: NaN or infinite values, or no column that varies.
        """
        n, d = self.rows.shape
        total, low, high = np.zeros(d), np.full(d, np.inf), np.full(d, -np.inf)
        seen: set[int] = set()
        for row, block in self.rows.blocks():
            x = to_numpy(block)
            total += finite_sum(x, "a block of X", row)
            low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
            seen.update(hash(one.tobytes()) for one in x)
        constant = low == high
        if constant.all():
            raise ValueError("every column of X is constant: there is nothing to test")
        return Moments(total / n, constant, n - len(seen))

    @cached_property
    def projections(self) -> Projections:
        """One pass."""
        n, d = self.rows.shape
        rng = np.random.default_rng([self.seed, 100])
        m = max(self.n_projections, _MIN_DIRECTIONS)
        U = rng.standard_normal((d, m), dtype=self.rows.dtype.type)
        U /= np.linalg.norm(U, axis=0)
        mean, there = self.rows.place(self.moments.mean), self.rows.place(U)
        P, squares = np.empty((m, n), U.dtype), np.empty(n)
        for row, block in self.rows.blocks():
            centred = block - mean  # a far mean would cost float32 its digits
            P[:, row : row + len(block)] = to_numpy(centred @ there).T
            squares[row : row + len(block)] = to_numpy((centred * centred).sum(1))
        return Projections(U, P, squares)

    @cached_property
    def leading(self) -> Leading:
        """Scores on the leading principal axes, and tr S^2."""
        U, P = self.projections.directions, self.projections.samples
        return leading_axes(self.rows, self.moments.mean, self.n_axes, U, P, seed=self.seed)

    @cached_property
    def projected(self) -> Univariate:
        """Tests of the rows on the directions that were asked for."""
        return Univariate.of(self.projections.samples[: self.n_projections])

    @cached_property
    def axes(self) -> Univariate:
        """Tests of the scores on the leading axes."""
        return Univariate.of(np.ascontiguousarray(self.leading.scores.T))

    @property
    def led(self) -> Leading | None:
        """`leading` where a family asked for it; rows of low rank have fewer axes than were asked for."""
        return vars(self).get("leading")

    @cached_property
    def columns(self) -> Univariate:
        """Tests of every column, and 512 at most of those that vary; one reading, by panels of columns."""
        n, d = self.rows.shape
        varying = np.flatnonzero(~self.moments.constant)
        rng = np.random.default_rng([self.seed, 101])
        chosen = np.sort(rng.permutation(varying)[:_NULL_COLUMNS])
        p, kept = np.full((3, d), np.nan), []
        for start, panel in self.rows.panels(max(1, _PANEL // n)):
            here, some = (index[(index >= start) & (index < start + len(panel))] for index in (varying, chosen))
            kept.append(panel[some - start])
            if here.size:
                p[:, here] = p_values_of_rows(panel if here.size == len(panel) else panel[here - start])
        return Univariate(p, np.concatenate(kept))
