"""The `imagefolder:PATH` source: anyone's photographs, read as `datasets` reads an image folder."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.sources.rows import ImageRows, Layout, Reading, image_paths, reason
from noisezoo.builder.sources.source import Refusal
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    from datasets import Dataset

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class ImageFolder(ImageRows):
    """Pictures below a folder; sub-folders become the class `label`, `train`/`test` folders become splits.

    A `metadata.csv` or `metadata.jsonl` with a `file_name` column gives further label columns; a picture without a row
    there, and a row without a picture, are refused.
    """

    name = "imagefolder"
    sensitive = True
    layout = Layout()

    def __init__(self, path: str) -> None:
        super().__init__()
        self.root = folder_of(path, self.name)

    def read(self) -> Reading:
        """The pictures below the folder."""
        return read_folder(self.root, self.name)

    def options(self) -> dict[str, Any]:
        """Nothing: the folder's content is hashed row by row in the manifest."""
        return {}


def folder_of(path: str, source: str) -> Path:
    """The folder at `path`; raises UsageError where there is none."""
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise UsageError(f"{source}: there is no folder {path}")
    return root


def read_folder(root: Path, source: str, **options: Any) -> Reading:
    """Read an image folder; ids are paths below it.

    Args:
        root: The folder.
        source: Who asks, for messages.
        options: Of `datasets`' image folder, as `drop_metadata`.
    """
    splits = _load(root, source, **options)
    ids = {split: _names(rows, root, split) for split, rows in splits.items()}
    return Reading(splits, ids, [] if options.get("drop_metadata") else _unlisted(root, source, ids))


def _load(root: Path, source: str, **options: Any) -> "dict[str, Dataset]":
    from datasets import Image, load_dataset
    from datasets.exceptions import DatasetsError

    with tempfile.TemporaryDirectory(prefix="noisezoo-") as cache:
        try:
            splits = load_dataset("imagefolder", data_dir=str(root), cache_dir=cache, keep_in_memory=True, **options)
        except (ValueError, OSError, IndexError, DatasetsError) as error:
            raise UsageError(f"{source}: {root} has no images that can be listed: {reason(error)}") from error
        return {split: rows.cast_column("image", Image(decode=False)) for split, rows in splits.items()}


def _names(rows: "Dataset", root: Path, split: str) -> list[str]:
    """Paths below the folder; a row of the metadata file that names no picture goes by its place."""
    return [Path(path).relative_to(root).as_posix() if path else f"{split} row {row + 1}"
            for row, path in enumerate(image_paths(rows, "image"))]  # fmt: skip


def _unlisted(root: Path, source: str, ids: dict[str, list[str]]) -> list[Refusal]:
    """Pictures that the metadata files leave out, which `datasets` passes over in silence."""
    if not any(path.name in METADATA for path in root.rglob("metadata.*")):
        return []
    listed = {image_id for names in ids.values() for image_id in names}
    pictures = _load(root, source, drop_metadata=True, drop_labels=True)
    found = [image_id for split, rows in pictures.items() for image_id in _names(rows, root, split)]
    why = "the metadata file has no row with this file_name"
    return [Refusal(image_id, "source", "ValueError", why) for image_id in sorted(found) if image_id not in listed]
