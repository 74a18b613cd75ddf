"""The `afhq` and `afhqv2` sources: faces of cats, dogs and wild animals (Choi et al., StarGAN v2, CVPR 2020)."""

from noisezoo.builder.sources.hub_dataset import load, row_ids, undecoded
from noisezoo.builder.sources.imagefolder import folder_of, read_folder
from noisezoo.builder.sources.labels import one_of
from noisezoo.builder.sources.rows import OFFICIAL, ImageRows, Layout, Reading

LABELS = {"label": one_of("cat", "dog", "wild")}


class AFHQ(ImageRows):
    """The Hub's copy, one split of numbered rows; or a folder of Parquet files or of `train|test/cat|dog|wild`.

    Args:
        path: A local folder, for the Hub's copy.
        splits: `official` (as they come), or `hash` to split anew.
    """

    name = "afhq"
    license = "cc-by-nc-4.0"
    stratify = ("label",)
    layout = Layout("huggan/AFHQ", "6983c553da3dcadd659953db9c925e7febeac88f", labels=LABELS)

    def __init__(self, path: str | None = None, splits: str = OFFICIAL) -> None:
        super().__init__(splits)
        self.root = None if path is None else folder_of(path, self.name)

    def read(self) -> Reading:
        """The rows of the Parquet files, numbered; or the folder's pictures by their paths."""
        if self.root is not None and not any(self.root.rglob("*.parquet")):
            return read_folder(self.root, self.name, drop_labels=False, drop_metadata=True)
        rows = load(str(self.root or self.layout.repo), self.name, revision=self.layout.revision)
        splits = undecoded(rows, self.layout.image)
        return Reading(splits, row_ids(splits))


class AFHQv2(AFHQ):
    """The same animals, resampled without aliasing and stored as PNG (version 2)."""

    name = "afhqv2"
    layout = Layout("huggan/AFHQv2", "f638548a7eccf134045249ed2ac708505bac6e2e", labels=LABELS)
