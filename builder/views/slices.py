"""Slices of the manifest, each read and decoded once for all views that work on it together, ahead of their use."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from noisezoo.zoo import View

T = TypeVar("T")
R = TypeVar("R")

Values = dict[int, np.ndarray | Exception]
"""Position in a slice -> the picture there as a model's input or as an encoding, or why it could not become one."""

PIECE = 16  # pictures that one thread reads at a time: few, so that several threads share a batch

ALONE_FROM = 5000.0  # GFLOP of one forward from which a model is held in memory alone


def groups(views: Sequence["View"]) -> list[list["View"]]:
    """Views that can share work, together: decoded pictures, or an autoencoder's latents; in the order given."""
    found: dict[str, list[View]] = {}
    for view in views:
        found.setdefault(shared(view), []).append(view)
    return list(found.values())


def shared(view: "View") -> str:
    """What a view shares with others of its group: an autoencoder, a network and its untrained twin, or pictures."""
    autoencoder = view.name if view.family == "vae" else view.autoencoder
    twin = view.baseline or view.name if view.family == "diffusers" else None
    return view.name if view.gflops > ALONE_FROM else autoencoder or twin or "pictures"


def cut(rows: range, size: int) -> list[range]:
    """A range in consecutive ranges of at most `size`."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def ahead(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], depth: int = 2
) -> Generator[tuple[T, "Future[R]"], None, None]:
    """Each item with the future of `function(item)`, in order; `depth` items beyond the one in hand are under way."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > depth:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for _, future in waiting:
            future.cancel()


class Slice:
    """A range of manifest rows: ids, prompts, pictures, and the encodings that views have made of them.

    Safe to read from several threads; a picture is decoded once, by whichever thread asks first.

    Attributes:
        encodings: Name of an encoding and start of a batch -> the batch's encoded pictures.
    """

    def __init__(
        self,
        ids: Sequence[str],
        read: "Callable[[range], Sequence[Image | Exception]]",
        prompts: Sequence[str] | None = None,
    ) -> None:
        """`read` gives the pictures of a range of the slice's own positions, a failure in its picture's place."""
        self.ids, self.prompts, self._read = ids, prompts, read
        self.encodings: dict[tuple[str, int], Values] = {}
        self._promised: set[tuple[str, int]] = set()
        self._pictures: dict[int, Image | Exception] = {}
        self._locks: dict[int, threading.Lock] = {}

    def pictures(self, piece: range) -> "list[Image | Exception]":
        """Decoded pictures of one piece (one that `cut` gives for every view alike)."""
        with self._locks.setdefault(piece.start, threading.Lock()):
            if piece.start not in self._pictures:
                self._pictures |= zip(piece, self._read(piece), strict=True)
        return [self._pictures[position] for position in piece]

    def picture(self, position: int) -> "Image":
        """One decoded picture; raises what kept it from being read."""
        found = self._pictures.get(position) or self._read(range(position, position + 1))[0]
        if isinstance(found, Exception):
            raise found
        return found

    def promise(self, encoding: str | None, batch: range) -> bool:
        """Whether the asker must encode this batch itself: the first to ask, and every view that shares with none."""
        key = (encoding or "", batch.start)
        first = encoding is None or key not in self._promised
        self._promised.add(key)
        return first
