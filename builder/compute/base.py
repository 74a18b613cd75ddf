"""The contract of a view's computer: prepare one image, compute one batch. The base class owns the loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noisezoo.builder.sources import Refusal

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

Rows = dict[str, np.ndarray]


class Computer(ABC):
    """Turns images into one view's rows.

    `prepare` is pure and sees one image, so that what fails there costs one row; `compute` sees a batch.
    """

    def __init__(self, view: "View", settings: "Settings") -> None:
        self.view, self.settings = view, settings

    @property
    def quality(self) -> tuple[str, ...]:
        """Names of the per-row quality columns that `compute` gives beside the array."""
        return ()

    def load(self) -> None:  # noqa: B027 - most controls have nothing to load
        """Read the model; called once a process, before the first batch."""

    def fit(self, images: "Callable[[], Iterable[Image]]", path: Path) -> None:  # noqa: B027 - few views need a fit
        """Learn what the view needs from a sample of the source's images, keeping it at `path` between processes."""

    @abstractmethod
    def prepare(self, image: "Image") -> np.ndarray:
        """One image as the model's input. Raising refuses the image with that reason."""

    @abstractmethod
    def compute(self, inputs: np.ndarray, ids: Sequence[str]) -> Rows:
        """A batch of prepared inputs (b, ...) as rows: the view's array under its name, and its quality columns."""

    def rows(
        self, ids: Sequence[str], images: "Sequence[Image | Exception]", progress: Callable[[], None] = lambda: None
    ) -> tuple[list[str], Rows, list[Refusal]]:
        """All rows of one unit of work: (ids kept, their columns, refusals); ids in = ids kept + refused.

        Batches are cut by position, before anything is refused, so that no row's batch depends on who computes it.
        """
        kept: list[str] = []
        parts: list[Rows] = [self._empty()]
        refusals: list[Refusal] = []
        for start in range(0, len(ids), self.settings.batch_size):
            batch = slice(start, start + self.settings.batch_size)
            inputs, good = self._prepare_batch(ids[batch], images[batch], refusals)
            if good:
                rows, good = self._finite(self.compute(np.stack(inputs), good), good, refusals)
                parts.append(rows)
                kept += good
            progress()
        return kept, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, refusals

    def _empty(self) -> Rows:
        array = {self.view.name: np.empty((0, *self.view.shape), self.view.dtype)}
        return {**array, **{name: np.empty(0, np.float32) for name in self.quality}}

    def _prepare_batch(
        self, ids: Sequence[str], images: "Sequence[Image | Exception]", refusals: list[Refusal]
    ) -> tuple[list[np.ndarray], list[str]]:
        inputs, good = [], []
        for image_id, image in zip(ids, images, strict=True):
            try:
                if isinstance(image, Exception):
                    raise image
                inputs.append(self.prepare(image))
                good.append(image_id)
            except Exception as error:  # one unreadable image must not end the build
                refusals.append(Refusal.from_error(image_id, self.view.name, error))
        return inputs, good

    def _finite(self, rows: Rows, ids: list[str], refusals: list[Refusal]) -> tuple[Rows, list[str]]:
        """Cast to the stored dtype and refuse the rows that are not finite in it."""
        with np.errstate(over="ignore"):
            rows = {**rows, self.view.name: rows[self.view.name].astype(self.view.dtype)}
        fine = np.all([np.isfinite(column).reshape(len(ids), -1).all(axis=1) for column in rows.values()], axis=0)
        for i in np.flatnonzero(~fine):
            error = FloatingPointError(f"the result is not finite in {self.view.dtype}")
            refusals.append(Refusal.from_error(ids[i], self.view.name, error))
        return {name: column[fine] for name, column in rows.items()}, [ids[i] for i in np.flatnonzero(fine)]
