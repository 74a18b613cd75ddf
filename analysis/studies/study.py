"""The contract of a study: one analysis of a whole dataset, from its views to plain results and tidy tables."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from noisezoo.analysis.edits import PROBE, Embed, Generate, Strip
from noisezoo.analysis.gaussian import GaussianityResult
from noisezoo.analysis.probes import ProbeTable
from noisezoo.analysis.studies.data import Data, Json

Step = Callable[[str], None]
Tables = dict[str, list[Json]]
T = TypeVar("T")
R = TypeVar("R")
WORKERS = 2
"""Pieces of work at a time, each on one thread of arithmetic: memory grows with them, and each keeps a core busy."""


@dataclass(frozen=True)
class Model:
    """A generative model to edit through: its view's name, and how it makes pictures of noise rows."""

    view: str
    generate: Generate


@dataclass(frozen=True)
class Judge:
    """An encoder that looks at edited pictures: its view's name, and how it embeds pictures."""

    view: str
    embed: Embed


@dataclass(frozen=True)
class Effort:
    """How much is drawn for intervals and nulls, and of how many images.

    Attributes:
        n_splits: Splits in halves for intervals of comparisons; also their degrees of freedom.
        n_permutations: Draws of a null.
        max_rows: Images that comparisons of views with views take, as those cost their square or a fit a pair.
    """

    n_splits: int = 16
    n_permutations: int = 10
    max_rows: int = 6000

    @property
    def few_splits(self) -> int:
        """Half as many, but six at least: for comparisons of which a split costs several fits."""
        return max(6, self.n_splits // 2)


QUICK = Effort(n_splits=8, n_permutations=6, max_rows=2000)


@dataclass(frozen=True)
class Options:
    """What a run was asked for, beside the dataset.

    Attributes:
        seed: Of folds, projections, permutations and resamples.
        effort: Draws and rows.
        paper: Also do what the paper did, as it did it.
        models: Generative models to regenerate and edit through; views of the dataset.
        judge: The encoder that judges edits; needed for edits.
        edits: Attributes to edit.
        directions: How the directions of edits are made, of `noisezoo.analysis.edits.directions.MAKERS`.
        variants: Name -> another dataset of the same images, inverted otherwise.
        step: Called with a line of text before each piece of work, for a progress bar.
    """

    seed: int = 42
    effort: Effort = Effort()
    paper: bool = False
    models: Sequence[Model] = ()
    judge: Judge | None = None
    edits: Sequence[str] = ()
    directions: Sequence[str] = (PROBE,)
    variants: Mapping[str, str | Path] = field(default_factory=dict)
    step: Step = lambda text: None


@dataclass
class Analysis:
    """What the studies found: `results` is plain JSON; the others are what later studies and the report need beside it.

    Attributes:
        results: Name of a study -> what it gave, beside `dataset`, `views` and `seed`.
        tables: View -> its probes.
        gaussianity: View -> its tests.
        strips: View -> edited pictures, in [-1, 1].
        reconstructions: View -> (2, m, c, h, w), given and regenerated pictures.
        rows: Name of a table -> its tidy rows.
    """

    results: Json
    tables: dict[str, ProbeTable]
    strips: dict[str, list[Strip]] = field(default_factory=dict)
    reconstructions: dict[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    rows: Tables = field(default_factory=dict)
    gaussianity: dict[str, GaussianityResult] = field(default_factory=dict)

    @property
    def views(self) -> list[Json]:
        """Facts of every view."""
        return list(self.results["views"])

    @property
    def noise(self) -> list[Json]:
        """Facts of the noise views that models were trained for."""
        return [view for view in self.views if view["kind"] == "noise"]

    @property
    def encoders(self) -> list[str]:
        """Names of the embeddings, without those of untrained networks."""
        return [view["name"] for view in self.views if view["kind"] == "embedding" and not view["untrained"]]

    @property
    def noise_and_twins(self) -> list[str]:
        """Names of the noise views, then those of their networks before training, where the dataset has them."""
        here = {view["name"] for view in self.views}
        twins = [view["baseline"] for view in self.noise if view["baseline"] in here]
        return list(dict.fromkeys((*self.names("noise"), *twins)))

    def names(self, kind: str) -> list[str]:
        """Names of the views of one kind, in order."""
        return [view["name"] for view in self.views if view["kind"] == kind]

    def of_family(self, *families: str) -> list[str]:
        """Names of the views of these families, in order."""
        return [view["name"] for view in self.views if view["family"] in families]


class Study(ABC):
    """One analysis. `run` adds what it finds to the analysis under the study's name; it needs those before it."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Studies whose findings this one reads."""

    @abstractmethod
    def run(self, data: Data, analysis: Analysis, options: Options) -> None:
        """Put plain results into `analysis.results[self.name]`, and tidy rows into `analysis.rows`."""

    def wanted(self, options: Options) -> bool:
        """Whether there is anything to do."""
        return True


def side_by_side(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of every item, in order, a few at a time with one thread of arithmetic each."""
    with ThreadPoolExecutor(WORKERS) as pool, threadpool_limits(1):
        return list(pool.map(function, items))


def tidy(records: Iterable[Mapping[str, Any]], **keys: Any) -> list[Json]:
    """Records with what they are of in front."""
    return [{**keys, **record} for record in records]
