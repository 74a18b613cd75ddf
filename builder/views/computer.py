"""The contract of a view's computer: prepare one image, compute one batch. `Work` owns the loop over a slice."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from noisezoo.builder.sources import COPIES, Refusal, attempt, signed
from noisezoo.errors import UsageError
from .slices import PIECE, Slice, Values, cut
from .stages import Stages

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from noisezoo.builder.recipe import Settings
    from noisezoo.zoo import View

Rows = dict[str, np.ndarray]
FAULT = "fault"  # column that a computer may add: why a row is to be refused (str), or None; it is never stored


@dataclass(frozen=True)
class Batch:
    """What is known of a batch's images beside their numbers."""

    ids: Sequence[str]
    prompts: Sequence[str] | None = None

    def __getitem__(self, part: Iterable[int]) -> "Batch":
        """The images of these indices, in their order."""
        part = list(part)
        return Batch([self.ids[i] for i in part], self.prompts and [self.prompts[i] for i in part])


class Computer(ABC):
    """Turns images into one view's rows.

    `prepare` is pure and sees one image, so that what fails there costs one row, and any thread may call it; `compute`
    sees a batch.

    Attributes:
        learns: Whether the view needs a `fit`, which is then in `fitted` before the first batch.
        encoding: What the computer's `encode` does, where others do the very same: they share its results by this name.
        quality: Names of the per-row quality columns beside the arrays.
        facts: What the model's own files decided and a reader of the rows must know; kept with every unit.
        arithmetic: How the network computes, as it was set; kept with every unit. Empty where there is no network.
        stages: The batch sizes and the clock.
    """

    learns: ClassVar[bool] = False
    fitted: Mapping[str, np.ndarray]
    encoding: str | None = None
    quality: tuple[str, ...] = ()
    facts: Mapping[str, float] = {}

    def __init__(self, view: "View", settings: "Settings") -> None:
        self.view, self.settings = view, settings
        self.arithmetic: dict[str, Any] = {}
        self.stages = Stages(view.name, settings.batch_size)

    @property
    def device(self) -> "torch.device":
        """Where the view is computed."""
        import torch

        return torch.device("cpu")

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the array columns: the view's own, and others of its shape."""
        return (self.view.name,)

    def cut_prompts(self, prompts: Sequence[str] | None) -> list[bool]:
        """For each prompt, or for the one of all rows, whether the model reads its beginning alone."""
        return []

    def load(self) -> None:  # noqa: B027 - most controls have nothing to load
        """Read the model; called once a process, before the first batch."""

    def fit(self, images: "Iterable[Image]") -> dict[str, np.ndarray]:
        """What the view must learn from a sample of the source's images; called once a build, if the view `learns`."""
        raise NotImplementedError

    def pixels(self, image: "Image") -> np.ndarray:
        """The picture at the view's size, cut and resized as the recipe says: (3, h, w) float32 in [-1, 1].

        The same pixels reach every view of one size; encoders have their library's own preprocessing instead.
        """
        return signed(image, self.view.resolution, crop=self.settings.crop, resample=self.settings.resample)

    @abstractmethod
    def prepare(self, image: "Image") -> np.ndarray:
        """One image as the model's input. Raising refuses the image with that reason."""

    def see(self, image: "Image") -> np.ndarray:
        """`prepare` the image, or the copy of it that the view's row asks for."""
        return self.prepare(image if self.view.augment is None else COPIES[self.view.augment](image))

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        """Prepared inputs (b, ...) as what `compute` takes."""
        return inputs

    @abstractmethod
    def compute(self, values: np.ndarray, batch: Batch) -> Rows:
        """Encoded inputs (b, ...) as rows: the arrays, the quality columns, and `FAULT` where it is known."""

    def measure(self, rows: Rows, positions: Sequence[int], part: Slice) -> Rows:
        """Columns to add to the rows at these positions once all of the slice is computed; a `FAULT` among them."""
        return {}

    def rows(
        self, ids: Sequence[str], images: "Sequence[Image | Exception]", prompts: Sequence[str] | None = None
    ) -> tuple[list[str], Rows, list[Refusal]]:
        """All rows of pictures that are at hand: (ids kept, their columns, refusals); ids in = ids kept + refused."""
        work = Work(self, Slice(ids, lambda piece: [images[i] for i in piece], prompts))
        for batch in work.batches:
            with self.stages.timed("read"):
                values = work.prepare_batch(batch)
            work.add(batch, values)
        return work.finish()


class Work:
    """One view on one slice, batch by batch: every id ends as a row or as a refusal.

    Batches are cut by position, before anything is refused, so that no row's batch depends on who computes it.
    """

    def __init__(self, computer: Computer, part: Slice) -> None:
        self.computer, self.part = computer, part
        self.batches = cut(range(len(part.ids)), computer.settings.batch_size)
        self._kept: list[int] = []
        self._parts: list[Rows] = []
        self._refusals: dict[int, Refusal] = {}

    def prepare(self, piece: range) -> Values:
        """The pictures of one piece as inputs."""
        see = self.computer.see
        return {position: image if isinstance(image, Exception) else attempt(see, image)
                for position, image in zip(piece, self.part.pictures(piece), strict=True)}  # fmt: skip

    def prepare_batch(self, batch: range) -> Values:
        """All pieces of a batch."""
        return {position: value for piece in cut(batch, PIECE) for position, value in self.prepare(piece).items()}

    def add(self, batch: range, values: Values) -> None:
        """Compute one batch of prepared pictures; of none, where another view has left the batch's encoding."""
        encoded = self._encoded(batch, values)
        for position, error in encoded.items():
            if isinstance(error, Exception):
                self._refuse(position, error)
        kept, array = _stacked(encoded)
        if kept:
            computer, known = self.computer, Batch(self.part.ids, self.part.prompts)[kept]
            parts = computer.stages.run("network", lambda p: computer.compute(array[p], known[p]), places(batch, kept))
            self._keep(concatenated(parts), kept)

    def finish(self) -> tuple[list[str], Rows, list[Refusal]]:
        """(ids kept, their columns, refusals), each in the slice's order."""
        rows, kept = concatenated(self._parts) if self._parts else self._empty(), self._kept
        if kept:
            rows, kept = self._sound({**rows, **self.computer.measure(rows, kept, self.part)}, kept, finite=())
        refusals = [self._refusals[position] for position in sorted(self._refusals)]
        return [self.part.ids[position] for position in kept], rows, refusals

    def _encoded(self, batch: range, values: Values) -> Values:
        """The batch's pictures as encodings, by this view or by one before it that shares them."""
        computer, key = self.computer, (self.computer.encoding or "", batch.start)
        if computer.encoding is not None and key in self.part.encodings:
            return self.part.encodings[key]
        sizes = {value.shape for value in values.values() if isinstance(value, np.ndarray)}
        if len(sizes) > 1:
            raise UsageError(
                f"view {computer.view.name}: its preprocessing leaves pictures at different sizes "
                f"({', '.join(map(str, sorted(sizes)))}): give pictures of one shape"
            )
        kept, array = _stacked(values)
        encoded = computer.stages.run("encode", lambda p: computer.encode(array[p]), places(batch, kept))
        found = values | dict(zip(kept, (row for part in encoded for row in part), strict=True))
        if computer.encoding is not None:
            self.part.encodings[key] = found
        return found

    def _keep(self, rows: Rows, positions: list[int]) -> None:
        """Cast to the stored dtype and keep the rows that are finite in it."""
        view = self.computer.view
        check_shape(view, rows[view.name].shape[1:])
        with np.errstate(over="ignore"):
            rows |= {name: rows[name].astype(view.dtype) for name in self.computer.arrays}
        rows, kept = self._sound(rows, positions, finite=[name for name in rows if name != FAULT])
        self._parts.append(rows)
        self._kept += kept

    def _sound(self, rows: Rows, positions: list[int], finite: Iterable[str]) -> tuple[Rows, list[int]]:
        """The rows without a fault and with finite values in the named columns; the others are refused."""
        n = len(positions)
        faults = rows.get(FAULT, np.full(n, None, dtype=object))
        fine = np.array([fault is None for fault in faults])
        for name in finite:
            fine &= np.isfinite(rows[name]).reshape(n, -1).all(axis=1)
        for i in np.flatnonzero(~fine):
            reason = faults[i] or f"the result is not finite in {self.computer.view.dtype}"
            self._refuse(positions[i], FloatingPointError(reason))
        kept = {name: column[fine] for name, column in rows.items() if name != FAULT}
        return kept, [positions[i] for i in np.flatnonzero(fine)]

    def _refuse(self, position: int, error: Exception) -> None:
        image_id, view = self.part.ids[position], self.computer.view.name
        self._refusals[position] = Refusal.from_error(image_id, view, error)

    def _empty(self) -> Rows:
        view = self.computer.view
        arrays = {name: np.empty((0, *view.shape), view.dtype) for name in self.computer.arrays}
        return {**arrays, **{name: np.empty(0, np.float32) for name in self.computer.quality}}


def check_shape(view: "View", shape: tuple[int, ...]) -> None:
    """Refuse a model whose arrays are not those of its row."""
    if shape != view.shape:
        raise UsageError(f"view {view.name}: its model gives {shape}, its row says {view.shape}")


def digest_number(text: str, size: int = 16) -> int:
    """A number of `size` bytes from SHA-256 of a text: what random numbers start from, wherever they are drawn."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size], "big")


def gaussian_of(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The standard Gaussian array that a text stands for, float32."""
    return np.random.Generator(np.random.Philox(digest_number(text))).standard_normal(shape, dtype=np.float32)


def places(positions: Sequence[int], kept: Sequence[int]) -> np.ndarray:
    """(n,) int. Index in `kept` of each position, -1 where it is not kept."""
    index = {position: i for i, position in enumerate(kept)}
    return np.array([index.get(position, -1) for position in positions], int)


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Rows of several batches, one after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _stacked(values: Values) -> tuple[list[int], np.ndarray]:
    """Positions of the values that are no failures, and these values, (b, ...)."""
    kept = {position: value for position, value in values.items() if isinstance(value, np.ndarray)}
    return list(kept), np.stack(list(kept.values())) if kept else np.empty(0)
