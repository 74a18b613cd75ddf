"""The contract of an image source: scan once, then read by key."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from noisezoo.builder.redaction import redact

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features
    from PIL.Image import Image


T = TypeVar("T")


@dataclass(frozen=True)
class Refusal:
    """One image that could not be processed, and why; `stage` is the source or view that refused it."""

    image_id: str
    stage: str
    error: str
    message: str

    @classmethod
    def from_error(cls, image_id: str, stage: str, error: BaseException) -> "Refusal":
        """The refusal that an exception amounts to, its message cut to one line of 300 characters, without secrets."""
        message = redact(" ".join(str(error).split()))[:300]
        return cls(image_id, stage, type(error).__name__, message)


class Source(ABC):
    """Images with ids, labels and, where they come with them, splits and identities.

    A subclass says what there is (`scan`, `label_features`) and how one image is read (`image`). Everything else,
    freezing the order, hashing, splitting, refusing, is done once, outside.
    """

    name: ClassVar[str]
    license: str = "unknown"
    """As the Hub spells it; `other` where `license_name` says which."""
    license_name: str = ""
    sensitive: ClassVar[bool] = False
    """Whether the pictures may show people: what is made of them is then published with the same care."""
    stratify: tuple[str, ...] = ()
    """Labels (bool or ClassLabel) whose rates a `limit` keeps."""

    @abstractmethod
    def scan(self) -> "pa.Table":
        """Every image the source offers, in a stable order.

        Columns: `image_id` (string), `key` (string, what `image` takes), the label columns, and where the source has
        them `split` (string) and `group` (string, an identity that must not be on both sides of a split).
        """

    def refusals(self) -> list[Refusal]:
        """What scanning met that is no image with its labels, each with its reason; none of it is in `scan`."""
        return []

    @abstractmethod
    def label_features(self) -> "Features":
        """The `datasets` features of the label columns, in order."""

    @abstractmethod
    def image(self, key: str) -> "Image":
        """Read one image. Any exception is recorded as that image's refusal."""

    def images(self, keys: Sequence[str]) -> "list[Image | Exception]":
        """Read several images; a failure takes its image's place, so that one bad file costs one row."""
        return [attempt(self.image, key) for key in keys]

    def contents(self, keys: Sequence[str]) -> list[bytes | Exception]:
        """The bytes whose hash stands for each image in the manifest: pixels here, a file's bytes where it is one."""
        return [image if isinstance(image, Exception) else image.tobytes() for image in self.images(keys)]

    @property
    def identity(self) -> str | None:
        """The label that says who an image shows, where there is one: no split and no fold has one on both sides."""
        return None

    def options(self) -> dict[str, Any]:
        """What, beside its name, decides what the source gives; part of a dataset's recipe."""
        return {}


def attempt(read: Callable[[str], T], key: str) -> T | Exception:
    """`read(key)`, or the exception it ended in: a source may fail in any way, and that costs its row only."""
    try:
        return read(key)
    except Exception as error:
        return error
