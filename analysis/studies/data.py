"""A dataset as the analyses read it: labels once, and one view at a time, in full or reduced as it is published."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from noisezoo import zoo
from noisezoo.analysis.core import principal_frame
from noisezoo.errors import UsageError
from noisezoo.loading import LABELS, PAIRED, config_names, load, matrix
from noisezoo.pca import PCA_ROWS, Basis, fit_pca
from noisezoo.record import RECIPE, RECORD, Section, read_file, read_path, read_record
from noisezoo.schema import FACTOR_PREFIX, ID, SPLIT

if TYPE_CHECKING:
    from datasets import Dataset

Json = dict[str, Any]
K = TypeVar("K")
R = TypeVar("R")
WORKERS = 2
"""Pieces of work at a time, each on one thread of arithmetic: memory grows with them, and each keeps a core busy."""
TRAIN = "train"
PAPER_AXES = 500
FACTS = ("kind", "family", "untrained", "baseline", "autoencoder", "clip_conditioned", "objective")
"""Fields of a view's row of the zoo that its facts repeat."""
GRAM_FLOPS = 3e10
"""A view whose Gram matrix costs more than so many multiplications is read reduced, as the `paired` config has it."""


class Data:
    """Labels, attributes, identities and splits of a dataset, and its views on demand.

    Linear analyses read `features`: the view in full where that is affordable, otherwise its published principal
    components (DESIGN: 500, fitted on the training split), which the view's facts then say.
    """

    def __init__(
        self,
        path_or_repo: str | Path,
        *,
        views: Sequence[str] | None = None,
        source: str | None = None,
        revision: str | None = None,
        found: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    ) -> None:
        """`found`: views that the dataset does not hold, in its rows' order: name -> (n, c, h, w)."""
        self.path_or_repo, self.source, self.revision, self.found = path_or_repo, source, revision, found
        self.labels = self._load(())
        self.names, self.Y = attributes(self.labels)
        self.numbers, self.V = numbers(self.labels, but=self.section.identity if self.section else None)
        self.splits = np.asarray(self.labels.data.column(SPLIT).to_pylist())
        self.train = self.splits == TRAIN  # (n,)
        self.views = list(dict.fromkeys((*self._available(), *found) if views is None else views))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def ids(self) -> list[str]:
        """Of the images, (n,)."""
        return list(self.labels.data.column(ID).to_pylist())

    @cached_property
    def section(self) -> Section | None:
        """What the dataset's own record says of this source; None where it has none."""
        record = read_record(self.path_or_repo, self.revision)
        sections = record.sections if record else ()
        return next((s for s in sections if self.source in (None, s.source)), None)

    @cached_property
    def groups(self) -> NDArray[Any] | None:
        """Identity of every image (n,), which no fold may have on both sides; None where the source has none."""
        column = self.section.identity if self.section else None
        if column is None or column not in self.labels.column_names:
            return None
        return np.asarray(self.labels.data.column(column).to_pylist())

    def stored(self, view: str) -> NDArray[Any]:
        """The view as it is stored: (n, d) in its own dtype, sharing memory with the file where it can."""
        return self._flat(view) if view in self.found else matrix(self._full, view, dtype=None)

    def matrix(self, view: str) -> NDArray[Any]:
        """The view in full: (n, d) float32."""
        return self._flat(view).astype(np.float32) if view in self.found else matrix(self._full, view)

    @cache  # noqa: B019 - a Data lives as long as its analysis
    def features(self, view: str) -> NDArray[Any]:
        """What linear analyses read: (n, d) float32, in full or reduced."""
        return self.reduced(view) if self.is_reduced(view) else self.matrix(view)

    @cache  # noqa: B019
    def part(self, max_rows: int, seed: int, most_axes: int | None = None) -> "Part":
        """At most so many of the images, the same object for every study that asks alike."""
        return Part(self, max_rows, seed, most_axes)

    def reduced(self, view: str) -> NDArray[Any]:
        """The view's published principal components: (n, k) float32."""
        basis = self.basis(view)
        if view in self.found and basis is not None:
            return basis.transform(self.matrix(view)).astype(np.float32)
        return matrix(self._paired, view)

    def is_reduced(self, view: str) -> bool:
        """Whether `features` are the published components."""
        n, d = len(self), self.width(view)
        return n * d * min(n, d) > GRAM_FLOPS and self.basis(view) is not None

    def width(self, view: str) -> int:
        """Numbers of one row in full."""
        return int(np.prod(self.shape(view)))

    @cache  # noqa: B019
    def shape(self, view: str) -> tuple[int, ...]:
        """Of one row: (c, h, w), or (d,)."""
        if view in self.found:
            return self.found[view].shape[1:]
        feature = self._full.features[view]
        return tuple(feature.shape) if hasattr(feature, "shape") else (int(feature.length),)

    @cache  # noqa: B019
    def basis(self, view: str) -> Basis | None:
        """The PCA basis of a view, published or fitted alike; None where the paired config has it in full."""
        if view in self.found:
            dims, first = self.section.pca_dims if self.section else PAPER_AXES, self.splits == self.splits[0]
            wide = self.width(view) > dims
            return fit_pca(self.matrix(view)[first][:PCA_ROWS], dims) if wide else None
        prefix = self.section.prefix if self.section else ""
        path = read_path(self.path_or_repo, f"{prefix}{PAIRED}/basis/{view}.safetensors", self.revision)
        return None if path is None else Basis.read(path)

    def narrow_basis(self, view: str) -> Basis | None:
        """The basis that probes of a view are fitted on and carried back by, where the view is read reduced."""
        return self.basis(view) if self.is_reduced(view) else None

    def facts(self, view: str) -> Json:
        """What a reader must know of a view, as plain values."""
        row, rows, std, used = self._row(view), self._full, f"{view}.latent_std", self.narrow_basis(view)
        return {
            "name": view,
            **{fact: getattr(row, fact) for fact in FACTS},
            "copy_of": row.original if row.augment else None,
            "about": row.about,
            "n": len(self),
            "d": self.width(view),
            "reduced_to": None if used is None else len(used.components),
            "x_T": self.section.facts.get(view) if self.section and row.family == "diffusers" else None,
            "digest": self._rows_digest(view),
            "latent_std": float(np.mean(rows[std])) if std in rows.column_names else None,
        }

    def dataset_facts(self) -> Json:
        """Name, rows, splits, attributes and the recipe, as plain values."""
        splits, counts = np.unique(self.splits, return_counts=True)
        recipe, record = (read_file(self.path_or_repo, name, self.revision) for name in (RECIPE, RECORD))
        return {
            "name": Path(self.path_or_repo).name,
            "revision": self.revision,
            "digest": None if record is None else sha256(record.encode()).hexdigest(),  # it holds that of every file
            "source": self.section.source if self.section else self.source,
            "rows": len(self),
            "splits": {str(split): int(count) for split, count in zip(splits, counts, strict=True)},
            "attributes": self.names,
            "numbers": self.numbers,
            "identities": None if self.groups is None else len(np.unique(self.groups)),
            "factors": [name for name in self.labels.column_names if name.startswith(FACTOR_PREFIX)],
            "recipe": json.loads(recipe) if recipe else None,
        }

    def _rows_digest(self, view: str) -> str:
        """SHA-256 of a view's rows as they are stored: equal where two views hold identical rows."""
        rows = self.stored(view)
        return sha256(str((rows.shape, rows.dtype)).encode() + np.ascontiguousarray(rows).tobytes()).hexdigest()

    def _row(self, view: str) -> zoo.View:
        """The view's row of the zoo, or the one that the dataset published with it, or that of an unknown embedding."""
        published = {row["name"]: row for row in (self.section.views if self.section else ())}
        unknown = zoo.View(view, "embedding", "unknown", "", 0, (), "", 0.0, "not in this zoo")
        return zoo.ROWS.get(view) or (zoo.View.of(published[view]) if view in published else unknown)

    def _available(self) -> list[str]:
        if self.section is not None:
            return self.section.view_names
        return [name for name in config_names(self.path_or_repo, self.revision) if name not in (PAIRED, LABELS)]

    @cached_property
    def _paired(self) -> "Dataset":
        return self._load(None)

    @cached_property
    def _full(self) -> "Dataset":
        """All stored views in one call, as each call reads the whole card."""
        return self._load([view for view in self.views if view not in self.found])

    def _flat(self, view: str) -> NDArray[Any]:
        return self.found[view].reshape(len(self), -1)

    def _load(self, views: Sequence[str] | None) -> "Dataset":
        return load(self.path_or_repo, views, source=self.source, revision=self.revision)


class Part:
    """Some images of a dataset, or all: what comparisons of views with views read."""

    def __init__(self, data: Data, max_rows: int, seed: int, most_axes: int | None = None) -> None:
        """At most `max_rows` images, drawn without replacement by `seed`, in their order.

        `most_axes` bounds `leading`; None for as many as the paper's, and half as many as there are rows.
        """
        rows = np.sort(np.random.default_rng([seed, 21]).permutation(len(data))[:max_rows])
        self.data, self.rows, self.names, self.views = data, rows, data.names, data.views
        self.Y = data.Y[rows]
        self.most_axes = min(PAPER_AXES, len(rows) // 2) if most_axes is None else most_axes
        self.groups = None if data.groups is None else data.groups[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def features(self, view: str) -> NDArray[Any]:
        """As the dataset's: (n, d) float32."""
        X = self.data.features(view)
        return X if len(self) == len(X) else X[self.rows]

    @cache  # noqa: B019
    def leading(self, view: str) -> NDArray[Any]:
        """`features`, or where those are wider, their leading axes, of these rows: (n, k) float32."""
        X = self.features(view)
        return principal_frame(X, view, leading=self.most_axes).scores.astype(np.float32) if self.is_led(view) else X

    def spread(self, function: Callable[..., R], items: Iterable[K], **settings: Any) -> dict[K, R]:
        """`function` of the leading axes of each item's views; people are `groups`."""
        return spread(lambda *names: function(*map(self.leading, names), groups=self.groups, **settings), items)

    def is_led(self, view: str) -> bool:
        """Whether `leading` are fewer than `features`."""
        return bool(self.features(view).shape[1] > self.most_axes)

    def caveats(self, *, led: bool = True) -> list[str]:
        """What was left out, in words."""
        n, most = len(self.data), self.most_axes
        few = [f"computed on {len(self)} images, drawn from {n}"] if len(self) < n else []
        wide = [view for view in self.views if led and self.is_led(view)]
        return few + [f"computed on {most} leading principal axes of {', '.join(wide)}"] * bool(wide)


def spread(function: Callable[..., R], items: Iterable[K]) -> dict[K, R]:
    """`function` of every item, a name or a tuple of them, a few at a time with one thread of arithmetic each."""
    every = list(items)
    with ThreadPoolExecutor(WORKERS) as pool, threadpool_limits(1):
        return dict(zip(every, pool.map(lambda item: function(*names_of(item)), every), strict=True))


def names_of(item: Any) -> tuple[Any, ...]:
    """A name, or several, as a tuple."""
    return item if isinstance(item, tuple) else (item,)


def attributes(labels: "Dataset") -> tuple[list[str], NDArray[np.int8]]:
    """Binary attributes of a loaded dataset: yes/no columns, and each class of a class label against the rest.

    Returns:
        Names (k,), and zeros and ones (n, k).

    Raises:
        UsageError: There is none.
    """
    from datasets import ClassLabel

    names: list[str] = []
    columns: list[NDArray[Any]] = []
    for name, feature in labels.features.items():
        if isinstance(feature, ClassLabel):
            values = np.asarray(labels.data.column(name))
            names += [f"{name}={kind}" for kind in feature.names]
            columns += [values == k for k in range(feature.num_classes)]
        elif getattr(feature, "dtype", None) == "bool" and name not in (ID, SPLIT):
            names.append(name)
            columns.append(np.asarray(labels.data.column(name)))
    if not names:
        raise UsageError("the dataset has no yes/no column and no class label, so there is nothing to probe for")
    return names, np.stack(columns, axis=1).astype(np.int8)


def numbers(labels: "Dataset", but: str | None = None) -> tuple[list[str], NDArray[np.float64]]:
    """Labels of a loaded dataset that are numbers, but for a column `but` of identities.

    Returns:
        Names (k,), and values (n, k), NaN where a row has none.
    """
    from datasets import Value

    values = {name: feature.dtype for name, feature in labels.features.items() if isinstance(feature, Value)}
    names = [name for name, dtype in values.items() if dtype.startswith(("int", "uint", "float")) and name != but]
    columns = [labels.data.column(name).cast("float64", safe=False).to_numpy() for name in names]
    return names, np.stack(columns, axis=1) if names else np.empty((len(labels), 0))
