"""The `imagefolder:PATH` source: anyone's photographs, read as `datasets` reads an image folder."""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisezoo.builder.sources.base import Source, attempt
from noisezoo.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features
    from PIL.Image import Image


class ImageFolder(Source):
    """Pictures below a folder; sub-folders become the class `label`, `train`/`test` folders become splits.

    A `metadata.csv` or `metadata.jsonl` with a `file_name` column gives further label columns.
    """

    name = "imagefolder"

    def __init__(self, path: str) -> None:
        self.root = Path(path).expanduser().resolve()
        if not self.root.is_dir():
            raise UsageError(f"imagefolder: there is no folder {path}")
        self._rows: dict[str, Dataset] | None = None

    def _read_folder(self) -> "dict[str, Dataset]":
        if self._rows is None:
            from datasets import Image, load_dataset

            with tempfile.TemporaryDirectory(prefix="noisezoo-") as cache:
                try:
                    splits = load_dataset("imagefolder", data_dir=str(self.root), cache_dir=cache, keep_in_memory=True)
                except (ValueError, FileNotFoundError, IndexError) as error:
                    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                    raise UsageError(f"imagefolder: {self.root} has no images that can be listed: {reason}") from error
                self._rows = {name: rows.cast_column("image", Image(decode=False)) for name, rows in splits.items()}
        return self._rows

    def scan(self) -> "pa.Table":
        """Every picture by its path below the folder, sorted; a folder without split folders leaves splits to us."""
        import pyarrow as pa

        splits = self._read_folder()
        tables = []
        for split, rows in splits.items():
            keys = [str(Path(image["path"]).relative_to(self.root)) for image in rows["image"]]
            labels = {name: rows.data.column(name) for name in rows.column_names if name != "image"}
            own_split = {"split": [split] * len(keys)} if len(splits) > 1 else {}
            tables.append(pa.table({"image_id": keys, "key": keys, **own_split, **labels}))
        return pa.concat_tables(tables).sort_by("image_id")

    def label_features(self) -> "Features":
        """`label` as the folders' names, and what the metadata file holds."""
        from datasets import Features

        rows = next(iter(self._read_folder().values()))
        return Features({name: feature for name, feature in rows.features.items() if name != "image"})

    def contents(self, keys: Sequence[str]) -> list[bytes | Exception]:
        """The files' bytes."""
        return [attempt(self._bytes, key) for key in keys]

    def _bytes(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def image(self, key: str) -> "Image":
        """Decode the file; the whole of it is read here, so that a truncated file fails here."""
        from PIL import Image

        picture = Image.open(io.BytesIO(self._bytes(key)))
        picture.load()
        return picture

    def options(self) -> dict[str, Any]:
        """Nothing: the folder's content is hashed row by row in the manifest."""
        return {}
