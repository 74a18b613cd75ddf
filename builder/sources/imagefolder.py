"""The `imagefolder:PATH` source: anyone's photographs, read as `datasets` reads an image folder."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError

from noisezoo.builder.sources.hub_dataset import undecoded
from noisezoo.builder.sources.rows import ImageRows, Part, image_paths, reason
from noisezoo.builder.sources.source import Refusal
from noisezoo.errors import UsageError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class ImageFolder(ImageRows):
    """Pictures below a folder; sub-folders become the class `label`, `train`/`test` folders become splits.

    A `metadata.csv` or `metadata.jsonl` with a `file_name` column gives further label columns; a picture without a row
    there, and a row without a picture, are refused.
    """

    name = "imagefolder"
    sensitive = True

    def read(self) -> dict[str, Part]:
        """The pictures below the folder."""
        parts = read_folder(self.root, self.name)
        self.refused = _unlisted(self.root, self.name, parts)
        return parts


def read_folder(root: Path, source: str, **options: Any) -> dict[str, Part]:
    """Read an image folder; ids are paths below it, options those of `datasets`' image folder (`drop_metadata`)."""
    with tempfile.TemporaryDirectory(prefix="noisezoo-") as cache:
        try:
            splits = load_dataset("imagefolder", data_dir=str(root), cache_dir=cache, keep_in_memory=True, **options)
        except (ValueError, OSError, IndexError, DatasetsError) as error:
            raise UsageError(f"{source}: {root} has no images that can be listed: {reason(error)}") from error
    return {split: Part(rows, _names(rows, root, split)) for split, rows in undecoded(splits, "image").items()}


def _names(rows: Dataset, root: Path, split: str) -> list[str]:
    """Paths below the folder; a row of the metadata file that names no picture goes by its place."""
    return [Path(path).relative_to(root).as_posix() if path else f"{split} row {row + 1}"
            for row, path in enumerate(image_paths(rows, "image"))]  # fmt: skip


def _unlisted(root: Path, source: str, parts: Mapping[str, Part]) -> list[Refusal]:
    """Pictures that the metadata files leave out, which `datasets` passes over in silence."""
    if not any(path.name in METADATA for path in root.rglob("metadata.*")):
        return []
    listed = {image_id for part in parts.values() for image_id in part.ids}
    pictures = read_folder(root, source, drop_metadata=True, drop_labels=True)
    found = sorted(image_id for part in pictures.values() for image_id in part.ids if image_id not in listed)
    why = "the metadata file has no row with this file_name"
    return [Refusal(image_id, "source", "ValueError", why) for image_id in found]
