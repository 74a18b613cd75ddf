"""An image source: what it must say of its images, and the table in which each is found by name."""

import hashlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from noisezoo.builder.redaction import redact
from noisezoo.errors import IncompleteError, UsageError
from noisezoo.plugins import load_plugins

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features
    from PIL.Image import Image

T = TypeVar("T")
R = TypeVar("R")

SOURCES = {
    "faces": "noisezoo.builder.sources.faces:Faces",
    "digits": "noisezoo.builder.sources.digits:Digits",
    "imagefolder": "noisezoo.builder.sources.imagefolder:ImageFolder",
    "celeba": "noisezoo.builder.sources.celeba:CelebA",
    "afhq": "noisezoo.builder.sources.afhq:AFHQ",
    "afhqv2": "noisezoo.builder.sources.afhq:AFHQv2",
    "pie-bench": "noisezoo.builder.sources.pie_bench:PieBench",
    "hf": "noisezoo.builder.sources.hub_dataset:HubImages",
    "generated": "noisezoo.builder.views.generated:Generated",
}
"""Name -> `module:class`: adding a source to NoiseZoo is adding a file and a line here."""


@dataclass(frozen=True)
class Refusal:
    """An image that could not be processed, and why; `stage` is the source or the view that refused it."""

    image_id: str
    stage: str
    error: str
    message: str

    @classmethod
    def from_error(cls, image_id: str, stage: str, error: BaseException) -> "Refusal":
        """Record an exception, its message cut to one line of 300 characters, without secrets."""
        message = redact(" ".join(str(error).split()))[:300]
        return cls(image_id, stage, type(error).__name__, message)


class Source(ABC):
    """Images with ids and labels and, if the source has them, splits and identities.

    A subclass lists its images (`scan`, `label_features`) and reads one (`content`). The manifest does the rest once
    for all sources: order, hashes, splits, refusals.
    """

    name: ClassVar[str]
    license: str = "unknown"  # the licence, as the Hub spells it; `other` if `license_name` names it
    license_name: str = ""
    sensitive: ClassVar[bool] = False
    """Whether the pictures may show people: the dataset is then published with the same care."""
    stratify: tuple[str, ...] = ()  # labels (bool or ClassLabel) whose rates a `limit` keeps
    counts: Mapping[str, int] = MappingProxyType({})
    """Split -> images, where they are known before the source is read."""
    identity: str | None = None
    """The label that says which person an image shows: no split and no fold has one person on both sides."""

    @abstractmethod
    def scan(self) -> "pa.Table":
        """List every image of the source, in a stable order.

        Columns: `image_id` (string), `key` (string, the argument of `content`), the labels, and if the source has them
        `split` (string) and `group` (string, an identity that must not be on both sides of a split).
        """

    @abstractmethod
    def label_features(self) -> "Features":
        """The `datasets` features of the label columns, in order."""

    @abstractmethod
    def content(self, key: str) -> bytes:
        """Read the bytes of one image: a file's, or any bytes that `decode` understands. An exception refuses it."""

    def decode(self, content: bytes) -> "Image":
        """Make the picture of its bytes, whole, so that a truncated file fails here. An exception refuses the image."""
        from PIL import Image, UnidentifiedImageError

        try:
            picture = Image.open(io.BytesIO(content))
        except UnidentifiedImageError:  # Pillow's own message holds an address, which differs from run to run
            pointer = content.startswith(b"version https://git-lfs")
            mend = "run `git lfs pull`" if pointer else "if it is a picture, convert it to PNG or JPEG"
            raise UnidentifiedImageError(
                f"cannot identify image file: {len(content)} bytes, {content[:16]!r}; {mend}"
            ) from None
        picture.load()
        return picture

    def contents(self, keys: Sequence[str]) -> list[bytes | Exception]:
        """Read several images' bytes; a failure takes its image's place, so that a bad file costs one row."""
        return [attempt(self.content, key) for key in keys]

    def picture(self, key: str) -> "Image":
        """Read and decode one image."""
        return self.decode(self.content(key))

    def images(self, keys: Sequence[str], hashes: Sequence[str] | None = None) -> "list[Image | Exception]":
        """Read and decode several images; a failure takes its image's place.

        Raises IncompleteError where a picture is another one than that of its frozen SHA-256, if `hashes` are given: a
        row would pair different pictures.
        """
        contents = self.contents(keys)
        each = zip(keys, contents, hashes or [""] * len(keys), strict=True)
        changed = [key for key, read, frozen in each
                   if frozen and isinstance(read, bytes) and hashlib.sha256(read).hexdigest() != frozen]  # fmt: skip
        if changed:
            raise IncompleteError(
                f"{first_of(changed)}: no longer the picture that the manifest froze; put the old file back and run "
                "the same command again, or build into a new folder"
            )
        return [content if isinstance(content, Exception) else attempt(self.decode, content)
                for content in contents]  # fmt: skip

    def refusals(self) -> list[Refusal]:
        """What the scan met and left out, each with its reason."""
        return []

    def list_keys(self) -> Collection[str] | None:
        """The keys of all images that there are now, refused ones too; None if they are always the same."""
        return None

    def notes(self) -> list[str]:
        """What a user should know of how the source was understood, a sentence each."""
        return []

    def pinned(self) -> dict[str, Any]:
        """Options that make a later run read the very same images: they are frozen with the manifest."""
        return {}

    def use_folders(self, folders: Mapping[str, str]) -> None:  # noqa: B027 - most sources read no model
        """Read models from local folders, view -> path, as the recipe's views do."""

    def options(self) -> dict[str, Any]:
        """The options that decide what the source gives, defaults filled in: the fields of a dataclass."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init} if is_dataclass(self) else {}


def attempt(function: Callable[[T], R], value: T) -> R | Exception:
    """`function(value)`, or the exception that it raised: a source may fail in any way, and that costs one row."""
    try:
        return function(value)
    except Exception as error:
        return error


def first_of(names: Sequence[str]) -> str:
    """The first three of some names, for messages."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def keys_of(source: Source, ids: Sequence[str]) -> list[str]:
    """The keys by which a source reads these images; raises UsageError where it lacks some."""
    table = source.scan()
    scanned = (table.column(name).to_pylist()[::-1] for name in ("image_id", "key"))
    keys = dict(zip(*scanned, strict=True))  # of an id that comes twice, the first row counts
    missing = [image_id for image_id in ids if image_id not in keys]
    if missing:
        raise UsageError(f"the source lacks {len(missing)} of {len(ids)} images: {first_of(missing)}")
    return [keys[image_id] for image_id in ids]


def hash_unit(text: str) -> float:
    """A number in [0, 1) from SHA-256 of the text: uniform over texts, the same for ever."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def register_source(name: str, target: str) -> None:
    """Add a source of your own, found at `module:class`; `NAME` or `NAME:ARGUMENT` then opens it everywhere.

    Raises UsageError where another class has that name.
    """
    if SOURCES.setdefault(name, target) != target:
        raise UsageError(f"there is a source {name!r} already ({SOURCES[name]}): choose another name")


def open_source(name: str, options: Mapping[str, Any] | None = None) -> Source:
    """Open `NAME` or `NAME:ARGUMENT` (as in `imagefolder:photos`, `celeba:data/celeba`, `hf:beans`).

    Raises UsageError where there is no such source, or it does not take those options.
    """
    load_plugins()
    kind, _, argument = name.partition(":")
    if kind not in SOURCES:
        raise UsageError(f"unknown source {name!r}; {_mend(name)}")
    factory: type[Source] = resolve_name(SOURCES[kind])
    try:
        return factory(*([argument] if argument else []), **_typed(factory, options or {}, name))
    except TypeError as error:
        if not argument and any(each.default is each.empty for each in signature(factory).parameters.values()):
            raise UsageError(f"source {name!r} needs to know which: write {name}:PATH, or hf:NAMESPACE/NAME") from error
        raise UsageError(f"source {name!r}: {str(error).replace('__init__() ', '')}") from error


def _mend(name: str) -> str:
    """What to write in the place of a source that there is not."""
    if name and Path(name).is_dir():
        return f"it is a folder: write imagefolder:{name}"
    near = [f"hf:{name}"] if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else get_close_matches(name, SOURCES, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return (
        f"{guess}choose one of: {', '.join(SOURCES)} (as in imagefolder:PATH, hf:REPO; celeba and afhq may take :PATH)"
    )


def _typed(factory: type[Source], options: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The options as values of their fields' types: `age` or `age,sex` is a list for a field that holds one."""
    hints: dict[str, Any] = get_type_hints(factory) if is_dataclass(factory) else {}
    typed = dict(options)
    for name in typed.keys() & hints.keys():
        value = typed[name]
        if isinstance(value, str) and "Sequence" in str(hints[name]):
            value = [part.strip() for part in value.split(",")]
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(hints[name], config=ConfigDict(coerce_numbers_to_str=True))
            typed[name] = adapter.validate_python(value)
        except ValidationError as error:
            raise UsageError(f"source {source!r}: option {name} is {value!r}: {error.errors()[0]['msg']}") from error
    return typed
