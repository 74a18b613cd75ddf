"""The `afhq` and `afhqv2` sources: faces of cats, dogs and wild animals (Choi et al., StarGAN v2, CVPR 2020)."""

from collections.abc import Iterator
from types import MappingProxyType

import pyarrow as pa
from datasets import ClassLabel, Features, Value

from .hub_dataset import dataset_folder, read_files
from .imagefolder import Folder
from .labels import Piece
from .rows import ImageRows, Pictures
from .tables import Tables


class Animals(Folder):
    """Pictures whose folder is their kind."""

    def pieces(self) -> Iterator[Piece]:
        """The pictures, split by split, the kind as text."""
        for piece in super().pieces():
            kinds = [path.split("/")[-2] if "/" in path else None for path in piece.ids]
            yield piece._replace(labels=pa.table({"label": pa.array(kinds, pa.string())}),
                                 features=Features({"label": Value("string")}))  # fmt: skip


class AFHQ(ImageRows):
    """The Hub's copy, one split of numbered rows; or a folder of Parquet files or of `train|test/cat|dog|wild`."""

    name = "afhq"
    license = "cc-by-nc-4.0"
    stratify = ("label",)
    wanted = {"label": ClassLabel(names=["cat", "dog", "wild"])}
    repo, revision = "huggan/AFHQ", "6983c553da3dcadd659953db9c925e7febeac88f"
    counts = MappingProxyType({"train": 16_130})

    def open(self) -> Pictures:
        """The rows of the Parquet files, numbered; or the folder's pictures by their paths."""
        folder = dataset_folder(self.where, self.name, revision=self.revision)
        files = read_files(folder, f"{self.name}: the dataset {self.where}")
        return Tables(files, self.name) if files else Animals(folder, self.name, metadata=False)


class AFHQv2(AFHQ):
    """The same animals, resampled without aliasing and stored as PNG (version 2)."""

    name = "afhqv2"
    repo, revision = "huggan/AFHQv2", "f638548a7eccf134045249ed2ac708505bac6e2e"
    counts = MappingProxyType({"train": 15_803})
